-- What others answered wrongly and in silence, answered over gathered rows.
--- rows
SELECT * FROM customers WHERE customer_id = 1 UNION SELECT * FROM customers WHERE customer_id = 13
SELECT customer_id FROM customers UNION ALL SELECT customer_id FROM orders
SELECT customer_id FROM customers EXCEPT SELECT customer_id FROM orders
SELECT * FROM customers c WHERE EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = 1)
SELECT * FROM customers WHERE customer_id IN (SELECT customer_id FROM orders)
SELECT (SELECT count(*) FROM orders) FROM customers WHERE customer_id = 1
SELECT c.name, (SELECT count(*) FROM orders o WHERE o.customer_id = c.customer_id) FROM customers c
SELECT count(*) FILTER (WHERE customer_id = 5) FROM customers
SELECT count(DISTINCT status) FROM orders
SELECT DISTINCT status FROM orders
SELECT DISTINCT credit FROM customers
SELECT status FROM orders GROUP BY status HAVING count(*) > 1
SELECT sum(total) / sum(priority) FROM orders
SELECT coalesce(sum(total), 0) FROM orders
SELECT sum(score) FROM customers
SELECT avg(score) FROM customers
SELECT sum(weight) FROM lines
SELECT stddev(total) FROM orders
SELECT bool_and(active) FROM customers
SELECT grouping(status), count(*) FROM orders GROUP BY ROLLUP (status)
SELECT status, region, count(*) FROM orders JOIN customers USING (customer_id) GROUP BY GROUPING SETS ((status), (region))
SELECT min(name) FROM customers
SELECT * FROM customers, orders WHERE customers.customer_id = 1
SELECT * FROM customers c JOIN orders o ON o.order_id = c.customer_id
SELECT * FROM customers c JOIN orders o ON o.customer_id = c.customer_id + 1
SELECT * FROM customers c JOIN orders o ON o.customer_id > c.customer_id
SELECT * FROM customers c LEFT JOIN orders o ON o.customer_id = 5
SELECT * FROM customers c LEFT JOIN orders o ON o.order_id = 1 WHERE o.customer_id = c.customer_id
SELECT * FROM customers c FULL JOIN orders o ON o.customer_id = c.customer_id
SELECT * FROM products p LEFT JOIN lines l ON l.product_id = p.product_id
SELECT * FROM customers NATURAL JOIN orders
SELECT * FROM visits v JOIN customers c ON c.customer_id = v.customer_id
SELECT * FROM (SELECT * FROM customers) c
WITH c AS (SELECT * FROM customers) SELECT * FROM c
SELECT * FROM customers, LATERAL (SELECT 1) x
SELECT * FROM customers, generate_series(1, 2) g
SELECT ROW(c.*) FROM customers c
SELECT current_user, customer_id FROM customers
SELECT orders.customer_id, public.orders.order_id FROM public.orders
SELECT min(name COLLATE "C"), max(name COLLATE "C") FROM customers
-- The same, where the order is part of the answer.
--- total
SELECT DISTINCT ON (status) status, total FROM orders ORDER BY status, total, customer_id, order_id
SELECT row_number() OVER (ORDER BY customer_id), customer_id FROM customers ORDER BY 2
SELECT string_agg(name, ',' ORDER BY customer_id) FROM customers
SELECT array_agg(customer_id ORDER BY customer_id DESC) FROM customers
SELECT name, customer_id FROM customers ORDER BY name, customer_id
SELECT token FROM visits ORDER BY token
SELECT region, customer_id FROM customers ORDER BY region, 2
SELECT status, count(*) FROM orders GROUP BY status ORDER BY status
SELECT * FROM customers ORDER BY customer_id LIMIT 1 + 1
SELECT * FROM customers ORDER BY customer_id LIMIT $1 <- 3
SELECT * FROM customers ORDER BY customer_id OFFSET $1 LIMIT $2 <- 3, 4
SELECT * FROM customers ORDER BY customer_id LIMIT (SELECT 2)
SELECT * FROM customers ORDER BY customer_id FETCH FIRST 2 ROWS WITH TIES
SELECT order_id, customer_id FROM orders WHERE order_id < (SELECT 3) ORDER BY order_id, customer_id FETCH FIRST 5 ROWS ONLY
SELECT customer_id FROM customers WHERE joined < now() ORDER BY 1
SELECT customer_id FROM customers WHERE joined < CURRENT_TIMESTAMP AND born < CURRENT_DATE ORDER BY 1
SELECT customer_id FROM customers WHERE joined < 'now' ORDER BY 1
SELECT customer_id FROM customers WHERE born < 'today' AND born < date 'yesterday' ORDER BY 1
SELECT customer_id FROM customers WHERE born < $1 ORDER BY 1 <- today
SELECT customer_id FROM customers WHERE joined < $1::timestamptz ORDER BY 1 <- now
SELECT count(*) FROM customers WHERE random() < 2
SELECT count(*) FROM customers TABLESAMPLE bernoulli (100)
SELECT count(*) FROM customers TABLESAMPLE system (100)
SELECT count(DISTINCT now()) FROM customers
SELECT now() - statement_timestamp() < '1min', clock_timestamp() >= now(), count(*) FROM orders
SELECT age(now(), now()), count(DISTINCT current_date - current_date) FROM orders
SELECT nosuch FROM customers ORDER BY name
SELECT name FROM customers ORDER BY nosuch, name
-- Every aggregate, whole and by group.
--- total
SELECT sum(score) FILTER (WHERE score < 1000) FROM customers
SELECT avg(weight::numeric) FROM lines
SELECT order_id, avg(weight::numeric) FROM lines GROUP BY order_id ORDER BY order_id
SELECT sum(weight) FROM lines
SELECT order_id, sum(weight) FROM lines GROUP BY order_id ORDER BY order_id
SELECT max(weight) FROM lines
SELECT order_id, max(weight) FROM lines GROUP BY order_id ORDER BY order_id
SELECT bit_and(quantity), bit_or(quantity), bit_xor(quantity) FROM lines
SELECT order_id, bit_and(quantity), bit_or(quantity), bit_xor(quantity) FROM lines GROUP BY order_id ORDER BY order_id
SELECT bool_and(quantity > 1), bool_or(quantity > 17), every(quantity >= 0) FROM lines
SELECT order_id, bool_and(quantity > 1), bool_or(quantity > 17), every(quantity >= 0) FROM lines GROUP BY order_id ORDER BY order_id
SELECT count(DISTINCT quantity), sum(DISTINCT quantity), avg(DISTINCT quantity) FROM lines
SELECT order_id, count(DISTINCT quantity), sum(DISTINCT quantity), avg(DISTINCT quantity) FROM lines GROUP BY order_id ORDER BY order_id
SELECT array_agg(quantity ORDER BY customer_id, order_id, line_no) FROM lines
SELECT order_id, array_agg(quantity ORDER BY customer_id, order_id, line_no) FROM lines GROUP BY order_id ORDER BY order_id
SELECT array_agg(DISTINCT quantity) FROM lines
SELECT order_id, array_agg(DISTINCT quantity) FROM lines GROUP BY order_id ORDER BY order_id
SELECT array_agg(ARRAY[quantity, line_no] ORDER BY customer_id, order_id, line_no) FROM lines
SELECT order_id, array_agg(ARRAY[quantity, line_no] ORDER BY customer_id, order_id, line_no) FROM lines GROUP BY order_id ORDER BY order_id
SELECT string_agg(quantity::text, '-' ORDER BY customer_id, order_id, line_no) FROM lines
SELECT order_id, string_agg(quantity::text, '-' ORDER BY customer_id, order_id, line_no) FROM lines GROUP BY order_id ORDER BY order_id
SELECT string_agg(DISTINCT quantity::text, '+') FROM lines
SELECT order_id, string_agg(DISTINCT quantity::text, '+') FROM lines GROUP BY order_id ORDER BY order_id
SELECT string_agg(tag, '\x00'::bytea ORDER BY customer_id, order_id, line_no) FROM lines
SELECT order_id, string_agg(tag, '\x00'::bytea ORDER BY customer_id, order_id, line_no) FROM lines GROUP BY order_id ORDER BY order_id
SELECT json_agg(quantity ORDER BY customer_id, order_id, line_no) FROM lines
SELECT order_id, json_agg(quantity ORDER BY customer_id, order_id, line_no) FROM lines GROUP BY order_id ORDER BY order_id
SELECT jsonb_agg(price ORDER BY customer_id, order_id, line_no) FROM lines
SELECT order_id, jsonb_agg(price ORDER BY customer_id, order_id, line_no) FROM lines GROUP BY order_id ORDER BY order_id
SELECT json_object_agg(customer_id || '.' || order_id || '.' || line_no, price ORDER BY customer_id, order_id, line_no) FROM lines
SELECT order_id, json_object_agg(customer_id || '.' || order_id || '.' || line_no, price ORDER BY customer_id, order_id, line_no) FROM lines GROUP BY order_id ORDER BY order_id
SELECT jsonb_object_agg(customer_id || '.' || order_id || '.' || line_no, quantity) FROM lines
SELECT order_id, jsonb_object_agg(customer_id || '.' || order_id || '.' || line_no, quantity) FROM lines GROUP BY order_id ORDER BY order_id
SELECT stddev(quantity), stddev_pop(quantity), stddev_samp(quantity) FROM lines
SELECT order_id, stddev(quantity), stddev_pop(quantity), stddev_samp(quantity) FROM lines GROUP BY order_id ORDER BY order_id
SELECT variance(quantity), var_pop(quantity), var_samp(quantity) FROM lines
SELECT order_id, variance(quantity), var_pop(quantity), var_samp(quantity) FROM lines GROUP BY order_id ORDER BY order_id
SELECT stddev(price), var_pop(price) FROM lines
SELECT order_id, stddev(price), var_pop(price) FROM lines GROUP BY order_id ORDER BY order_id
SELECT round(corr(quantity, line_no)::numeric, 6) FROM lines
SELECT order_id, round(corr(quantity, line_no)::numeric, 6) FROM lines GROUP BY order_id ORDER BY order_id
SELECT round(covar_pop(quantity, line_no)::numeric, 6), round(covar_samp(quantity, line_no)::numeric, 6) FROM lines
SELECT order_id, round(covar_pop(quantity, line_no)::numeric, 6), round(covar_samp(quantity, line_no)::numeric, 6) FROM lines GROUP BY order_id ORDER BY order_id
SELECT round(regr_avgx(quantity, line_no)::numeric, 6), round(regr_avgy(quantity, line_no)::numeric, 6), regr_count(quantity, line_no) FROM lines
SELECT order_id, round(regr_avgx(quantity, line_no)::numeric, 6), round(regr_avgy(quantity, line_no)::numeric, 6), regr_count(quantity, line_no) FROM lines GROUP BY order_id ORDER BY order_id
SELECT round(regr_intercept(quantity, line_no)::numeric, 6), round(regr_r2(quantity, line_no)::numeric, 6), round(regr_slope(quantity, line_no)::numeric, 6) FROM lines
SELECT order_id, round(regr_intercept(quantity, line_no)::numeric, 6), round(regr_r2(quantity, line_no)::numeric, 6), round(regr_slope(quantity, line_no)::numeric, 6) FROM lines GROUP BY order_id ORDER BY order_id
SELECT round(regr_sxx(quantity, line_no)::numeric, 6), round(regr_sxy(quantity, line_no)::numeric, 6), round(regr_syy(quantity, line_no)::numeric, 6) FROM lines
SELECT order_id, round(regr_sxx(quantity, line_no)::numeric, 6), round(regr_sxy(quantity, line_no)::numeric, 6), round(regr_syy(quantity, line_no)::numeric, 6) FROM lines GROUP BY order_id ORDER BY order_id
SELECT mode() WITHIN GROUP (ORDER BY quantity) FROM lines
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY quantity) FROM lines
SELECT order_id, percentile_cont(0.5) WITHIN GROUP (ORDER BY quantity) FROM lines GROUP BY order_id ORDER BY order_id
SELECT percentile_cont(ARRAY[0.1, 0.5, 0.9]) WITHIN GROUP (ORDER BY quantity) FROM lines
SELECT order_id, percentile_cont(ARRAY[0.1, 0.5, 0.9]) WITHIN GROUP (ORDER BY quantity) FROM lines GROUP BY order_id ORDER BY order_id
SELECT percentile_disc(0.25) WITHIN GROUP (ORDER BY price) FROM lines
SELECT order_id, percentile_disc(0.25) WITHIN GROUP (ORDER BY price) FROM lines GROUP BY order_id ORDER BY order_id
SELECT percentile_disc(ARRAY[0, 0.5, 1]) WITHIN GROUP (ORDER BY price DESC) FROM lines
SELECT order_id, percentile_disc(ARRAY[0, 0.5, 1]) WITHIN GROUP (ORDER BY price DESC) FROM lines GROUP BY order_id ORDER BY order_id
SELECT rank(5) WITHIN GROUP (ORDER BY quantity), dense_rank(5) WITHIN GROUP (ORDER BY quantity) FROM lines
SELECT order_id, rank(5) WITHIN GROUP (ORDER BY quantity), dense_rank(5) WITHIN GROUP (ORDER BY quantity) FROM lines GROUP BY order_id ORDER BY order_id
SELECT percent_rank(5) WITHIN GROUP (ORDER BY quantity), cume_dist(5) WITHIN GROUP (ORDER BY quantity) FROM lines
SELECT order_id, percent_rank(5) WITHIN GROUP (ORDER BY quantity), cume_dist(5) WITHIN GROUP (ORDER BY quantity) FROM lines GROUP BY order_id ORDER BY order_id
SELECT range_agg(int4range(quantity, quantity + 2)), range_intersect_agg(int4range(0, quantity + 50)) FROM lines
SELECT order_id, range_agg(int4range(quantity, quantity + 2)), range_intersect_agg(int4range(0, quantity + 50)) FROM lines GROUP BY order_id ORDER BY order_id
SELECT range_agg(int4multirange(int4range(quantity, quantity + 1))) FROM lines
SELECT order_id, range_agg(int4multirange(int4range(quantity, quantity + 1))) FROM lines GROUP BY order_id ORDER BY order_id
SELECT min(tag::text), max(tag::text) FROM lines
SELECT order_id, min(tag::text), max(tag::text) FROM lines GROUP BY order_id ORDER BY order_id
SELECT xmlagg(xmlelement(name q, quantity) ORDER BY customer_id, order_id, line_no)::text FROM lines
SELECT order_id, xmlagg(xmlelement(name q, quantity) ORDER BY customer_id, order_id, line_no)::text FROM lines GROUP BY order_id ORDER BY order_id
SELECT sum(quantity) FILTER (WHERE price > 5), count(*) FILTER (WHERE quantity IS NULL) FROM lines
SELECT order_id, sum(quantity) FILTER (WHERE price > 5), count(*) FILTER (WHERE quantity IS NULL) FROM lines GROUP BY order_id ORDER BY order_id
SELECT sum(quantity) / nullif(count(*), 0), coalesce(sum(quantity), 0) FROM lines
SELECT order_id, sum(quantity) / nullif(count(*), 0), coalesce(sum(quantity), 0) FROM lines GROUP BY order_id ORDER BY order_id
SELECT max(price) - min(price), sum(quantity * price) / sum(quantity) FROM lines
SELECT order_id, max(price) - min(price), sum(quantity * price) / sum(quantity) FROM lines GROUP BY order_id ORDER BY order_id
SELECT min(ARRAY[quantity, line_no]), max(ARRAY[quantity, line_no]) FROM lines
SELECT order_id, min(ARRAY[quantity, line_no]), max(ARRAY[quantity, line_no]) FROM lines GROUP BY order_id ORDER BY order_id
SELECT min(name), max(name), min(email), max(region) FROM customers
SELECT min(born), max(joined), min(credit), max(score) FROM customers WHERE name < 'm'
SELECT sum(score), avg(score) FROM customers WHERE score BETWEEN 0 AND 1
SELECT region, min(name), string_agg(name, '|' ORDER BY name COLLATE "C", customer_id) FROM customers GROUP BY region ORDER BY region
SELECT count(DISTINCT (status, priority)) FROM orders
SELECT sum(seconds - time '00:00'), avg(seconds - time '00:00'), max(seconds) FROM visits
SELECT array_agg(DISTINCT status ORDER BY status DESC NULLS FIRST) FROM orders
SELECT status, count(*) FILTER (WHERE total > (SELECT avg(total) FROM orders)) FROM orders GROUP BY status ORDER BY status
SELECT count(c), count(c.*) FROM customers c
SELECT json_agg(p ORDER BY product_id) FROM products p, (SELECT count(*) FROM customers) x
SELECT json_agg(o ORDER BY customer_id, order_id) FROM orders o WHERE total > 50
SELECT row_to_json(c) FROM customers c ORDER BY name, customer_id
SELECT to_jsonb(o.*) FROM orders o ORDER BY status, customer_id, order_id
SELECT jsonb_agg(v ORDER BY token) FROM visits v WHERE hits > 5
-- Grouping sets.
--- total
SELECT grouping(status), status, count(*) FROM orders GROUP BY ROLLUP (status) ORDER BY 1, 2
SELECT status, priority, count(*), sum(total) FROM orders GROUP BY CUBE (status, priority) ORDER BY 1, 2, 3, 4
SELECT status, region, count(*) FROM orders JOIN customers USING (customer_id) GROUP BY GROUPING SETS ((status), (region), ()) ORDER BY 1, 2, 3
SELECT region, active, grouping(region, active), count(*) FROM customers GROUP BY GROUPING SETS (ROLLUP (region, active), CUBE (active)) ORDER BY 1, 2, 3, 4
SELECT region, count(*) FROM customers GROUP BY DISTINCT ROLLUP (region), ROLLUP (region) ORDER BY 1, 2
SELECT order_id, line_no, sum(quantity) FROM lines GROUP BY ROLLUP (order_id, line_no) HAVING sum(quantity) > 20 ORDER BY 1, 2
SELECT product_id, grouping(product_id) AS g, sum(quantity * price) FROM lines GROUP BY ROLLUP (1) ORDER BY g, 1
SELECT category, count(DISTINCT l.customer_id) FROM lines l JOIN products USING (product_id) GROUP BY ROLLUP (category) ORDER BY category NULLS FIRST, 2
-- HAVING.
--- total
SELECT status FROM orders GROUP BY status HAVING count(*) > 1 ORDER BY status
SELECT status, sum(total) FROM orders GROUP BY status HAVING sum(total) > 100 ORDER BY status
SELECT customer_id, count(*) FROM orders GROUP BY customer_id HAVING count(*) = (SELECT max(n) FROM (SELECT count(*) AS n FROM orders GROUP BY customer_id) x) ORDER BY 1
SELECT region FROM customers GROUP BY region HAVING bool_or(active) ORDER BY region
SELECT count(*) FROM customers HAVING count(*) > 10
SELECT count(*) FROM customers HAVING count(*) > 1000
SELECT product_id FROM lines GROUP BY product_id HAVING avg(quantity) > 5 AND min(price) < 3 ORDER BY 1
SELECT order_id, max(total) AS m FROM orders GROUP BY order_id HAVING max(total) IS NOT NULL ORDER BY m DESC, 1
SELECT customer_id, name FROM customers GROUP BY customer_id HAVING length(name) > 3 ORDER BY name, 1
SELECT c.customer_id, c.name, c.credit, count(o.order_id) FROM customers c LEFT JOIN orders o ON o.total > c.credit GROUP BY c.customer_id ORDER BY 1
SELECT o.customer_id, o.order_id, o.placed, count(l) FROM orders o JOIN lines l ON l.order_id = o.order_id GROUP BY o.customer_id, o.order_id ORDER BY 1, 2
-- DISTINCT.
--- total
SELECT DISTINCT status FROM orders ORDER BY status
SELECT DISTINCT region, active FROM customers ORDER BY region, active
SELECT DISTINCT credit::float8 FROM customers ORDER BY 1
SELECT DISTINCT upper(name) FROM customers ORDER BY 1
SELECT DISTINCT total > 20 AS big, status FROM orders ORDER BY big, status
SELECT DISTINCT ON (region) region, name, customer_id FROM customers ORDER BY region, name DESC NULLS LAST, customer_id
SELECT DISTINCT ON (order_id, status) order_id, status, total FROM orders ORDER BY order_id, status, total DESC NULLS LAST
SELECT DISTINCT ON (product_id) product_id, price, customer_id FROM lines ORDER BY product_id, price DESC, customer_id DESC, order_id, line_no
SELECT DISTINCT status FROM orders ORDER BY status OFFSET 1 LIMIT 2
SELECT DISTINCT o.status, p.category FROM orders o JOIN lines l USING (customer_id, order_id) JOIN products p USING (product_id) ORDER BY 1, 2
SELECT count(*) FROM (SELECT DISTINCT credit FROM customers) x
SELECT DISTINCT extract(month FROM placed), extract(dow FROM placed) FROM orders ORDER BY 1, 2
-- Every window function, and frames.
--- total
SELECT customer_id, order_id, row_number() OVER (ORDER BY total DESC NULLS LAST, customer_id, order_id) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, rank() OVER (ORDER BY total) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, dense_rank() OVER (ORDER BY status, total) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, percent_rank() OVER (ORDER BY total) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, cume_dist() OVER (ORDER BY total) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, ntile(4) OVER (ORDER BY customer_id, order_id) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, lag(total) OVER (ORDER BY customer_id, order_id) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, lag(total, 2, 0.0) OVER (PARTITION BY status ORDER BY customer_id, order_id) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, lead(total) OVER (ORDER BY placed, customer_id, order_id) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, lead(status, 3, 'none') OVER (PARTITION BY order_id ORDER BY customer_id) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, first_value(status) OVER (ORDER BY customer_id, order_id) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, last_value(total) OVER (PARTITION BY order_id ORDER BY customer_id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, nth_value(total, 2) OVER (PARTITION BY status ORDER BY customer_id, order_id) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, sum(total) OVER () FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, sum(total) OVER (PARTITION BY status) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, sum(total) OVER (PARTITION BY customer_id ORDER BY order_id) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, sum(total) OVER (ORDER BY placed, customer_id, order_id ROWS 2 PRECEDING) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, avg(total) OVER (ORDER BY customer_id, order_id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, count(*) OVER (ORDER BY total RANGE BETWEEN 10 PRECEDING AND 10 FOLLOWING) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, count(*) OVER (ORDER BY placed RANGE BETWEEN '3 days' PRECEDING AND CURRENT ROW) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, count(*) OVER (ORDER BY status GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, max(total) OVER (ORDER BY customer_id, order_id ROWS BETWEEN 3 PRECEDING AND CURRENT ROW EXCLUDE CURRENT ROW) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, min(order_id) OVER (ORDER BY total GROUPS 1 PRECEDING EXCLUDE TIES) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, count(*) FILTER (WHERE total > 20) OVER (PARTITION BY order_id) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, array_agg(order_id) OVER (PARTITION BY customer_id ORDER BY order_id) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, string_agg(status, ',') OVER (PARTITION BY customer_id ORDER BY order_id) FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id, count(*) OVER w, sum(priority) OVER w FROM orders WINDOW w AS (PARTITION BY priority ORDER BY customer_id, order_id) ORDER BY customer_id, order_id
SELECT status, sum(sum(total)) OVER (ORDER BY status) FROM orders GROUP BY status ORDER BY status
SELECT region, rank() OVER (ORDER BY count(*) DESC, region) FROM customers GROUP BY region ORDER BY region
SELECT * FROM (SELECT customer_id, order_id, row_number() OVER (PARTITION BY status ORDER BY total DESC NULLS LAST, customer_id, order_id) AS n FROM orders) x WHERE n <= 2 ORDER BY 1, 2
SELECT customer_id, name, lag(name) OVER w AS before, lead(name) OVER w AS behind FROM customers WINDOW w AS (ORDER BY name, customer_id) ORDER BY name, customer_id
SELECT o.customer_id, o.order_id, l.line_no, sum(l.quantity) OVER (PARTITION BY o.status ORDER BY o.customer_id, o.order_id, l.line_no) FROM orders o JOIN lines l USING (customer_id, order_id) ORDER BY 1, 2, 3
SELECT token, hits, hits - lag(hits) OVER (ORDER BY token) FROM visits ORDER BY token
SELECT token, rank() OVER (PARTITION BY left(token, 1) ORDER BY hits DESC, token) FROM visits ORDER BY token
SELECT customer_id, total / sum(total) OVER (PARTITION BY customer_id) FROM orders WHERE total > 0 ORDER BY customer_id, order_id
SELECT sum(hits) OVER w1, avg(hits) OVER w2, token FROM visits WINDOW w1 AS (PARTITION BY customer_id), w2 AS (w1 ORDER BY token) ORDER BY token
-- Joins on other columns than the key.
--- total
SELECT c.name, o.order_id, o.customer_id FROM customers c JOIN orders o ON o.order_id = c.customer_id ORDER BY 1, 2, 3
SELECT a.customer_id, b.customer_id FROM customers a JOIN customers b ON a.name = b.name AND a.customer_id < b.customer_id ORDER BY 1, 2
SELECT a.customer_id, b.customer_id FROM customers a JOIN customers b ON a.born < b.born AND a.region = b.region ORDER BY 1, 2
SELECT v.token, c.name FROM visits v JOIN customers c ON c.customer_id = v.customer_id ORDER BY 1
SELECT v.token, c.name FROM visits v LEFT JOIN customers c USING (customer_id) ORDER BY 1
SELECT v.token, c.customer_id FROM visits v RIGHT JOIN customers c ON c.customer_id = v.hits ORDER BY 2, 1
SELECT v.token, c.customer_id FROM visits v FULL JOIN customers c ON c.customer_id = v.hits ORDER BY 2, 1
SELECT customer_id, token, order_id FROM visits FULL JOIN orders USING (customer_id) ORDER BY 1, 2, 3
SELECT c.customer_id, o.order_id FROM customers c FULL JOIN orders o ON o.customer_id = c.customer_id AND o.total > 12 ORDER BY 1, 2
SELECT c.customer_id, o.order_id FROM customers c LEFT JOIN orders o ON o.total > c.credit ORDER BY 1, o.customer_id, 2
SELECT c.customer_id, v.token FROM customers c CROSS JOIN visits v WHERE v.hits = c.customer_id % 9 ORDER BY 1, 2
SELECT p.name, count(l.line_no) FROM products p LEFT JOIN lines l ON l.product_id = p.product_id AND l.quantity > 9 GROUP BY p.name ORDER BY p.name
SELECT p.product_id, l.customer_id FROM products p RIGHT JOIN lines l ON l.product_id = p.product_id AND p.price > 5 ORDER BY 1, 2, l.order_id, l.line_no
SELECT p.product_id, l.customer_id FROM products p FULL JOIN lines l ON l.product_id = p.product_id + 5 ORDER BY 1, 2, l.order_id, l.line_no
SELECT customer_id, name, order_id FROM customers NATURAL JOIN orders ORDER BY 1, 3
SELECT * FROM customers NATURAL LEFT JOIN visits ORDER BY customer_id, token
SELECT customer_id, count(*) FROM customers NATURAL FULL JOIN visits GROUP BY customer_id ORDER BY 1
SELECT a.order_id, b.line_no, count(*) FROM orders a JOIN lines b ON a.order_id = b.line_no GROUP BY 1, 2 ORDER BY 1, 2
SELECT j.customer_id, j.token FROM (customers c JOIN visits v USING (customer_id)) AS j ORDER BY 2
SELECT j.a, j.b FROM (visits JOIN products ON hits = product_id) AS j (a, b) ORDER BY 1
SELECT x.customer_id, token FROM customers JOIN visits USING (customer_id) AS x ORDER BY token
SELECT c.customer_id, o.order_id, v.token FROM customers c LEFT JOIN (orders o JOIN visits v ON v.hits = o.order_id) ON o.customer_id = c.customer_id ORDER BY 1, 2, 3
SELECT c.customer_id FROM customers c, orders o, visits v WHERE c.customer_id = o.customer_id AND v.customer_id = o.order_id ORDER BY 1, o.order_id, v.token
SELECT a.customer_id, b.customer_id, c.customer_id FROM customers a, customers b, customers c WHERE a.customer_id + b.customer_id = c.customer_id AND a.customer_id < b.customer_id ORDER BY 1, 2, 3
SELECT q.x, q.y FROM customers AS q (x, y) JOIN visits ON hits = x ORDER BY 1, token
SELECT c.region, p.category, count(*) FROM customers c JOIN lines l USING (customer_id) JOIN products p USING (product_id) GROUP BY c.region, p.category ORDER BY 1, 2
SELECT "c".name, "Big Order".total FROM customers "c" JOIN orders "Big Order" ON "Big Order".total > c.credit ORDER BY "c".customer_id, "Big Order".customer_id, order_id
SELECT public.orders.status, public.visits.token FROM public.orders, public.visits WHERE public.orders.order_id = public.visits.hits ORDER BY 2, 1, public.orders.customer_id
SELECT o.total, (SELECT c.name FROM public.customers c WHERE c.customer_id = o.order_id) FROM public.orders o ORDER BY o.customer_id, o.order_id
-- Subqueries of every kind.
--- total
SELECT customer_id FROM customers WHERE customer_id IN (SELECT order_id FROM orders) ORDER BY 1
SELECT customer_id FROM customers WHERE customer_id NOT IN (SELECT customer_id FROM orders WHERE customer_id IS NOT NULL) ORDER BY 1
SELECT customer_id FROM customers c WHERE EXISTS (SELECT * FROM visits v WHERE v.customer_id = c.customer_id) ORDER BY 1
SELECT customer_id FROM customers c WHERE NOT EXISTS (SELECT * FROM visits v WHERE v.customer_id = c.customer_id AND v.hits > 5) ORDER BY 1
SELECT customer_id FROM customers WHERE credit > ANY (SELECT total FROM orders) ORDER BY 1
SELECT customer_id FROM customers WHERE credit >= ALL (SELECT total FROM orders WHERE total IS NOT NULL) ORDER BY 1
SELECT customer_id FROM customers WHERE credit < SOME (SELECT avg(total) FROM orders GROUP BY status) ORDER BY 1
SELECT customer_id, (SELECT count(*) FROM visits) FROM customers ORDER BY 1
SELECT customer_id, (SELECT max(token) FROM visits v WHERE v.customer_id = c.customer_id) FROM customers c ORDER BY 1
SELECT customer_id, (SELECT name FROM customers d WHERE d.customer_id > c.customer_id ORDER BY d.customer_id LIMIT 1) FROM customers c ORDER BY 1
SELECT customer_id, ARRAY(SELECT order_id FROM orders o WHERE o.customer_id = c.customer_id ORDER BY 1) FROM customers c ORDER BY 1
SELECT customer_id FROM customers WHERE (region, active) IN (SELECT region, active FROM customers WHERE customer_id = 5) ORDER BY 1
SELECT customer_id FROM customers WHERE (credit, score) = (SELECT credit, score FROM customers WHERE customer_id = 9) ORDER BY 1
SELECT total FROM orders WHERE total = (SELECT max(total) FROM orders) ORDER BY customer_id, order_id
SELECT order_id, customer_id FROM orders o WHERE total > (SELECT avg(total) FROM orders i WHERE i.status = o.status) ORDER BY 2, 1
SELECT status, (SELECT count(*) FROM lines l WHERE l.order_id = min(o.order_id)) FROM orders o GROUP BY status ORDER BY status
SELECT x.n, count(*) FROM (SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id) x GROUP BY x.n ORDER BY 1
SELECT avg(n) FROM (SELECT count(*) AS n FROM orders GROUP BY status) x
SELECT * FROM (SELECT name, customer_id FROM customers ORDER BY name, customer_id LIMIT 7) x ORDER BY customer_id
SELECT x.a, y.b FROM (SELECT order_id AS a FROM orders) x JOIN (SELECT hits AS b FROM visits) y ON x.a = y.b ORDER BY 1, 2
SELECT c.customer_id FROM customers c WHERE (SELECT count(*) FROM orders o WHERE o.customer_id = c.customer_id) > 2 ORDER BY 1
SELECT CASE WHEN EXISTS (SELECT 1 FROM orders WHERE total > 99) THEN 'yes' ELSE 'no' END, count(*) FROM customers
SELECT coalesce((SELECT name FROM customers WHERE customer_id = -1), 'nobody'), count(*) FROM visits
SELECT customer_id FROM customers ORDER BY (SELECT count(*) FROM orders o WHERE o.customer_id = customers.customer_id) DESC, customer_id
SELECT (SELECT sum(total) FROM orders) - (SELECT sum(price) FROM lines)
SELECT 1 WHERE EXISTS (SELECT FROM customers c JOIN visits v ON v.hits = c.customer_id)
SELECT customer_id FROM orders WHERE order_id IN (SELECT product_id FROM products WHERE price > 3) ORDER BY customer_id, order_id
SELECT product_id FROM products WHERE product_id NOT IN (SELECT product_id FROM lines WHERE quantity > 5) ORDER BY 1
SELECT name FROM products p WHERE EXISTS (SELECT 1 FROM lines l WHERE l.product_id = p.product_id AND l.quantity = 9) ORDER BY 1
SELECT customer_id, $1::int FROM customers WHERE customer_id IN (SELECT order_id FROM orders WHERE total > $2) ORDER BY 1 <- 7, 20
SELECT count(*) FROM customers WHERE customer_id = ANY (ARRAY(SELECT hits FROM visits))
SELECT (SELECT (SELECT max(o.total) FROM orders o WHERE o.customer_id = c.customer_id AND o.total < (SELECT max(score) FROM customers WHERE score < 1000)) FROM customers c WHERE c.customer_id = v.hits) FROM visits v ORDER BY token
-- LATERAL.
--- total
SELECT c.customer_id, x.order_id FROM customers c, LATERAL (SELECT order_id FROM orders o WHERE o.customer_id = c.customer_id ORDER BY total DESC NULLS LAST, order_id LIMIT 1) x ORDER BY 1
SELECT c.customer_id, x.token FROM customers c LEFT JOIN LATERAL (SELECT token FROM visits v WHERE v.hits = c.customer_id ORDER BY token LIMIT 2) x ON true ORDER BY 1, 2
SELECT v.token, g FROM visits v, generate_series(1, v.hits % 3) g ORDER BY 1, 2
SELECT c.customer_id, w FROM customers c, regexp_split_to_table(c.name, '[aeiou]') w ORDER BY 1, 2
SELECT c.customer_id, u.n, u.v FROM customers c, unnest(ARRAY[c.credit, c.customer_id]) WITH ORDINALITY AS u (v, n) ORDER BY 1, 2
SELECT s.status, t.total FROM (SELECT DISTINCT status FROM orders) s, LATERAL (SELECT total FROM orders o WHERE o.status = s.status ORDER BY total DESC NULLS LAST LIMIT 2) t ORDER BY 1, 2
SELECT c.customer_id, agg.n, agg.s FROM customers c CROSS JOIN LATERAL (SELECT count(*) AS n, sum(hits) AS s FROM visits v WHERE v.customer_id < c.customer_id) agg ORDER BY 1
SELECT c.name, j.key, j.value FROM customers c, jsonb_each_text(to_jsonb(ROW(c.region, c.active))) j ORDER BY c.customer_id, 2
SELECT c.customer_id, ROW(c.region, c.born) FROM customers c, ROWS FROM (generate_series(1, 2), unnest(ARRAY[c.region])) AS r (a, b) ORDER BY 1, a
-- WITH, and recursion.
--- total
WITH c AS (SELECT * FROM customers) SELECT customer_id, name FROM c ORDER BY name, 1
WITH big AS (SELECT * FROM orders WHERE total > 20), n AS (SELECT customer_id, count(*) AS n FROM big GROUP BY 1) SELECT * FROM n ORDER BY 2 DESC, 1
WITH customers AS (SELECT order_id AS customer_id FROM orders) SELECT customer_id, count(*) FROM customers GROUP BY 1 ORDER BY 1
WITH t AS MATERIALIZED (SELECT status, sum(total) AS s FROM orders GROUP BY status) SELECT a.status FROM t a JOIN t b ON a.s > b.s ORDER BY a.status, b.status
WITH t AS NOT MATERIALIZED (SELECT * FROM visits) SELECT a.token FROM t a JOIN t b ON a.hits = b.customer_id ORDER BY 1, b.token
WITH t (a, b) AS (SELECT customer_id, name FROM customers) SELECT a FROM t WHERE b LIKE '%a%' ORDER BY a
WITH RECURSIVE chain AS (SELECT customer_id, 1 AS depth FROM customers WHERE customer_id = 1 UNION ALL SELECT c.customer_id, depth + 1 FROM chain JOIN customers c ON c.customer_id = chain.customer_id + 7 WHERE depth < 9) SELECT * FROM chain ORDER BY depth
WITH RECURSIVE r AS (SELECT customer_id AS a, order_id::int8 AS b FROM orders UNION SELECT r.a, o.order_id FROM r JOIN orders o ON o.customer_id = r.b) SELECT count(*), sum(b) FROM r
WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i, (SELECT count(*) FROM orders WHERE order_id = i) FROM n ORDER BY i
WITH RECURSIVE t (id, path) AS (SELECT customer_id, ARRAY[customer_id] FROM customers WHERE customer_id BETWEEN 1 AND 3 UNION ALL SELECT c.customer_id, path || c.customer_id FROM t JOIN customers c ON c.customer_id = t.id * 2) SELECT * FROM t ORDER BY path
WITH RECURSIVE t AS (SELECT customer_id AS id, customer_id AS root FROM customers WHERE customer_id IN (1, 2) UNION ALL SELECT c.customer_id, t.root FROM t JOIN customers c ON c.customer_id IN (t.id + 10, t.id + 20)) SEARCH DEPTH FIRST BY id SET o SELECT id, root FROM t ORDER BY root, o, id
WITH RECURSIVE t AS (SELECT customer_id AS id FROM customers WHERE customer_id = 1 UNION ALL SELECT c.customer_id FROM t JOIN customers c ON c.customer_id = (t.id % 5) + 1) CYCLE id SET looped USING way SELECT id, looped FROM t ORDER BY way
WITH a AS (SELECT count(*) AS n FROM customers), b AS (SELECT count(*) AS n FROM orders) SELECT a.n, b.n, a.n + b.n FROM a, b
WITH t AS (WITH customers AS (SELECT token AS name FROM visits) SELECT name FROM customers) SELECT t.name FROM t, customers WHERE customers.customer_id = 5 ORDER BY 1
SELECT * FROM (WITH q AS (SELECT max(total) AS m FROM orders) SELECT m FROM q) x
WITH p AS (SELECT * FROM products WHERE price > 5) SELECT p.name, sum(l.quantity) FROM p JOIN lines l USING (product_id) GROUP BY p.name HAVING sum(l.quantity) > 3 ORDER BY 1
-- Set operations.
--- total
SELECT customer_id FROM customers UNION SELECT customer_id FROM visits ORDER BY 1
SELECT customer_id FROM customers UNION ALL SELECT order_id FROM orders ORDER BY 1
SELECT customer_id FROM customers INTERSECT SELECT order_id FROM orders ORDER BY 1
SELECT customer_id FROM orders INTERSECT ALL SELECT customer_id FROM lines ORDER BY 1
SELECT customer_id FROM customers EXCEPT SELECT customer_id FROM orders ORDER BY 1
SELECT customer_id FROM lines EXCEPT ALL SELECT customer_id FROM orders ORDER BY 1
SELECT name FROM customers UNION SELECT status FROM orders UNION SELECT token FROM visits ORDER BY 1
(SELECT name FROM customers ORDER BY name LIMIT 3) UNION ALL (SELECT token FROM visits ORDER BY token LIMIT 3) ORDER BY 1
SELECT 'c' AS kind, count(*) FROM customers UNION ALL SELECT 'o', count(*) FROM orders UNION ALL SELECT 'p', count(*) FROM products ORDER BY kind
SELECT region FROM customers EXCEPT (SELECT 'N  '::char(3) UNION SELECT region FROM customers WHERE customer_id = 4) ORDER BY 1
SELECT credit FROM customers UNION SELECT total FROM orders ORDER BY 1 NULLS FIRST
SELECT customer_id, 'order' AS what FROM orders WHERE total > 50 UNION SELECT customer_id, 'line' FROM lines WHERE quantity > 17 ORDER BY 1, 2
(SELECT customer_id FROM customers EXCEPT SELECT customer_id FROM visits) INTERSECT SELECT customer_id FROM orders ORDER BY 1
SELECT * FROM (SELECT customer_id AS id FROM customers UNION ALL SELECT hits FROM visits) x WHERE id BETWEEN 3 AND 9 ORDER BY 1
VALUES ((SELECT count(*) FROM customers)), ((SELECT count(*) FROM orders)) ORDER BY 1
SELECT count(*) FROM (TABLE customers UNION ALL TABLE customers) x
TABLE visits ORDER BY token
SELECT * FROM customers WHERE customer_id = 1 UNION SELECT * FROM customers WHERE customer_id = 13 ORDER BY 1
-- Text in every collation, and expressions that only PostgreSQL orders.
--- total
SELECT name, customer_id FROM customers ORDER BY name COLLATE "C" DESC, customer_id
SELECT token FROM visits ORDER BY token DESC
SELECT token FROM visits WHERE token > 'b' ORDER BY token LIMIT 9
SELECT name, customer_id FROM customers ORDER BY lower(name), customer_id
SELECT name, customer_id FROM customers WHERE name < 'é' ORDER BY name NULLS FIRST, 2
SELECT email, customer_id FROM customers ORDER BY email DESC NULLS LAST, customer_id OFFSET 2 LIMIT 11
SELECT region, name, customer_id FROM customers ORDER BY region DESC, name, customer_id
SELECT customer_id, joined FROM customers ORDER BY joined AT TIME ZONE 'Asia/Tokyo', 1
SELECT customer_id FROM customers ORDER BY born IS NULL, age(joined, born), 1
SELECT customer_id, tag FROM lines ORDER BY encode(tag, 'hex'), 1, order_id, line_no
SELECT array_agg(name ORDER BY name, customer_id) FROM customers
SELECT min(name), max(name COLLATE "C") FROM customers
SELECT status, max(status) OVER () FROM orders ORDER BY customer_id, order_id
SELECT customer_id FROM customers ORDER BY name USING >, customer_id
SELECT customer_id, name FROM customers ORDER BY CASE WHEN active THEN name ELSE email END, 1
SELECT customer_id, ROW(region, active) FROM customers ORDER BY ROW(region, active), 1
SELECT customer_id, ARRAY[region, name] FROM customers ORDER BY ARRAY[region::text, name], 1
SELECT region, name FROM customers WHERE active ORDER BY region COLLATE "C", name, customer_id
-- Many types and functions beside each other.
--- total
SELECT c.customer_id, c.uid, v.seconds FROM customers c JOIN visits v ON v.hits = c.customer_id ORDER BY v.token
SELECT max(uid::text), count(DISTINCT uid) FROM customers
SELECT date_trunc('month', placed), count(DISTINCT status) FROM orders GROUP BY 1 ORDER BY 1
SELECT extract(year FROM joined), percentile_disc(0.5) WITHIN GROUP (ORDER BY credit) FROM customers GROUP BY 1 ORDER BY 1
SELECT to_char(placed, 'Mon DD'), count(DISTINCT priority) FROM orders GROUP BY 1 ORDER BY 1
SELECT width_bucket(total, 0, 100, 4), count(DISTINCT customer_id) FROM orders GROUP BY 1 ORDER BY 1
SELECT customer_id, generate_series(1, 2) FROM customers WHERE customer_id IN (SELECT hits FROM visits) ORDER BY 1, 2
SELECT customer_id, jsonb_build_object('name', name, 'orders', (SELECT jsonb_agg(order_id ORDER BY order_id) FROM orders o WHERE o.customer_id = c.customer_id)) FROM customers c ORDER BY 1
SELECT xmlforest(customer_id, (SELECT count(*) FROM visits) AS n)::text FROM customers ORDER BY customer_id
SELECT customer_id, greatest(credit, (SELECT max(total) FROM orders)), least(born, date '1970-01-01') FROM customers ORDER BY 1
SELECT string_to_array(name, 'a'), count(*) OVER (PARTITION BY length(name)) FROM customers ORDER BY name, customer_id
SELECT position('a' IN name), overlay(name PLACING 'xx' FROM 1), count(*) OVER () FROM customers ORDER BY customer_id
SELECT customer_id, tag || '\x00'::bytea, lead(tag) OVER (ORDER BY customer_id, order_id, line_no) FROM lines ORDER BY customer_id, order_id, line_no
SELECT seconds + interval '1 hour', rank() OVER (ORDER BY seconds) FROM visits ORDER BY token
SELECT to_tsvector('simple', coalesce(name, '')) @@ to_tsquery('simple', 'ada'), count(*) OVER () FROM customers ORDER BY customer_id
SELECT int4range(order_id, order_id + 2) * int4range(2, 9), count(*) FROM orders GROUP BY 1 ORDER BY 1
SELECT current_user, session_user = current_user, current_database() = current_catalog, count(DISTINCT name) FROM customers
SELECT current_setting('TimeZone'), count(DISTINCT name) FROM customers
SELECT 1 / (count(DISTINCT name) - count(DISTINCT name)) FROM customers
SELECT sum(DISTINCT total)::int2 * 1000000::int2 FROM orders
SELECT (SELECT customer_id FROM customers)
SELECT name::int, count(*) OVER () FROM customers ORDER BY 1
SELECT status, count(*) OVER () FROM orders GROUP BY total
SELECT rank() FROM customers
SELECT max(name) FILTER (WHERE count(*) > 1) FROM customers
SELECT customer_id FROM customers UNION SELECT customer_id, name FROM customers
SELECT customer_id FROM customers INTERSECT SELECT name FROM customers
SELECT c.customer_id FROM customers c JOIN customers c ON true
SELECT customer_id FROM customers JOIN visits ON true
SELECT DISTINCT name FROM customers ORDER BY customer_id
SELECT count(DISTINCT name) FROM customers, LATERAL (SELECT * FROM orders o WHERE o.customer_id = customers.customer_id) x WHERE x.total > credit
SELECT lag(name, 1, 5) OVER (ORDER BY name) FROM customers
SELECT percentile_cont(2) WITHIN GROUP (ORDER BY credit::float8) FROM customers
SELECT count(DISTINCT name) FROM customers WHERE customer_id > $1 <- abc
-- Parameters, in and out.
--- total
SELECT count(DISTINCT status) FROM orders WHERE total > $1 <- 20
SELECT customer_id, $1::text || name FROM customers ORDER BY name, customer_id <- x
SELECT status, count(*) FROM orders GROUP BY status HAVING count(*) > $1 ORDER BY status <- 3
SELECT rank() OVER (ORDER BY total + $1), customer_id FROM orders ORDER BY customer_id, order_id <- 1
SELECT customer_id FROM customers WHERE name = $1 OR credit = (SELECT max(total) FROM orders WHERE status = $2) ORDER BY 1 <- Ada, paid
SELECT percentile_cont($1::float8) WITHIN GROUP (ORDER BY total) FROM orders <- 0.5
SELECT ntile($1) OVER (ORDER BY customer_id), customer_id FROM customers ORDER BY 2 <- 4
SELECT $1::int8, count(DISTINCT customer_id) FROM lines WHERE product_id = ANY ($2::int[]) <- 5, {1,2,3}
SELECT name FROM customers ORDER BY name, customer_id LIMIT $1 OFFSET $2 <- 5, 3
WITH t AS (SELECT * FROM orders WHERE status = $1) SELECT count(*), sum(total) FROM t, visits WHERE hits = $2 <- new, 3
SELECT count(DISTINCT name) FROM customers WHERE born IS NULL OR born > $1 <- NULL
SELECT o.customer_id FROM orders o JOIN visits v ON v.hits = o.order_id AND v.hits > $1 ORDER BY 1, o.order_id, v.token <- 2
-- Order among equals is left open.
--- keys 1
SELECT name FROM customers ORDER BY name
SELECT status, customer_id FROM orders ORDER BY status
SELECT rank() OVER (ORDER BY status), customer_id FROM orders ORDER BY 1
SELECT region, customer_id FROM customers ORDER BY region DESC
-- Which rows are left is open.
--- limit 0
SELECT customer_id FROM customers WHERE customer_id IN (SELECT customer_id FROM visits) LIMIT 3
SELECT name FROM customers WHERE name > 'a' UNION SELECT token FROM visits LIMIT 5
SELECT DISTINCT order_id, total FROM orders LIMIT 6
-- Which rows are left is open, among equals.
--- limit 1
SELECT region, customer_id FROM customers ORDER BY region LIMIT 7
SELECT status, customer_id FROM orders ORDER BY status LIMIT 9 OFFSET 4
