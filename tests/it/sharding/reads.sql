-- One shard: by literal, cast, parameter, IN, OR, row order of one server.
--- total
SELECT * FROM customers WHERE customer_id = 1
SELECT * FROM customers WHERE customer_id = 12
SELECT customer_id, name FROM customers c WHERE 5 = c.customer_id
SELECT * FROM customers WHERE customer_id = '17'
SELECT * FROM customers WHERE customer_id = 17::int4
SELECT * FROM customers WHERE customer_id = int8 '17'
SELECT * FROM customers WHERE customer_id = CAST('17' AS bigint)
SELECT * FROM customers WHERE customer_id = -7
SELECT * FROM customers WHERE customer_id = - 7
SELECT * FROM customers WHERE customer_id = 0
SELECT * FROM customers WHERE customer_id = 3.0
SELECT * FROM customers WHERE customer_id = 3.5
SELECT * FROM customers WHERE customer_id = 9223372036854775807
SELECT * FROM customers WHERE customer_id = -9223372036854775808
SELECT * FROM customers WHERE customer_id = 99999999999999999999999
SELECT * FROM customers WHERE customer_id = NULL
SELECT * FROM customers WHERE customer_id = 999
SELECT * FROM customers WHERE customer_id IN (4)
SELECT name, count(*) OVER () FROM customers WHERE customer_id = 4
SELECT * FROM customers WHERE customer_id = $1 <- 8
SELECT * FROM customers WHERE customer_id = $1 <- -7
SELECT * FROM customers WHERE customer_id = $1 <- NULL
SELECT * FROM customers WHERE customer_id = $1::int8 <- 9
SELECT * FROM customers WHERE customer_id = $1 AND name = $2 <- 1, Ada
SELECT $2::text AS label, * FROM customers WHERE customer_id = $1 <- 6, six
SELECT * FROM customers WHERE customer_id = 5 AND customer_id = 5
SELECT * FROM orders WHERE customer_id = 5 ORDER BY order_id
SELECT * FROM orders WHERE customer_id = 5 ORDER BY total DESC, order_id OFFSET 1 LIMIT 2
SELECT status, count(*) FROM orders WHERE customer_id = 14 GROUP BY status ORDER BY 1, 2
SELECT * FROM visits WHERE token = 'a0'
SELECT * FROM visits WHERE token = 'é27'
SELECT * FROM visits WHERE token = $1 <- z14
SELECT * FROM visits WHERE token = E'M\u0031'
SELECT * FROM visits WHERE token = $$M5$$
SELECT * FROM visits WHERE token = U&'\00e923'
SELECT avg(score), sum(score) FROM customers WHERE customer_id = 7
SELECT 1; SELECT 2
SELECT * FROM customers WHERE customer_id = 1; SELECT * FROM orders WHERE customer_id = 1 ORDER BY order_id
SELECT * FROM customers WHERE customer_id = 1; SELECT nosuch FROM customers WHERE customer_id = 1; SELECT 3
SELECT count(*) FROM customers; SELECT count(*) FROM products
SELECT 1/0
SELECT nosuch FROM customers WHERE customer_id = 1
SELEC 1 FROM
SELECT * FROM customers WHERE customer_id = 'abc'
SELECT * FROM customers WHERE customer_id = $1 <- abc
-- No user table at all, and reference tables alone.
--- total
SELECT 1 AS one, 'x'::text, NULL, 2.50, true
VALUES (1, 'a'), (2, 'b')
SELECT g, g * g FROM generate_series(1, 5) g ORDER BY g
SELECT * FROM products ORDER BY product_id
SELECT category, count(*), sum(price), avg(price) FROM products GROUP BY category ORDER BY category NULLS FIRST
SELECT p.name, (SELECT count(*) FROM products q WHERE q.price < p.price) FROM products p ORDER BY p.product_id
SELECT DISTINCT category FROM products ORDER BY category
SELECT * FROM products WHERE product_id = $1 <- 3
WITH dear AS (SELECT * FROM products WHERE price > 5) SELECT count(*) FROM dear
SELECT name FROM products UNION SELECT category FROM products ORDER BY 1
SELECT relname FROM pg_class WHERE relname IN ('customers', 'orders') ORDER BY 1
SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'orders' ORDER BY ordinal_position
SELECT 'a' || 'b', length('abc'), upper('x'), '2020-01-31'::date + 1
-- Joins by the key, and with reference tables, on one shard.
--- total
SELECT c.name, o.order_id FROM customers c JOIN orders o ON o.customer_id = c.customer_id WHERE c.customer_id = 9 ORDER BY 2
SELECT c.name, o.order_id FROM customers c JOIN orders o USING (customer_id) WHERE customer_id = 9 ORDER BY 2
SELECT c.name, o.order_id FROM customers c, orders o WHERE o.customer_id = c.customer_id AND o.customer_id = 9 ORDER BY 2
SELECT c.name, o.order_id FROM customers c LEFT JOIN orders o ON o.customer_id = c.customer_id WHERE c.customer_id = 1 ORDER BY 2
SELECT l.line_no, p.name FROM lines l JOIN products p USING (product_id) WHERE l.customer_id = 4 ORDER BY l.order_id, l.line_no
SELECT o.order_id, l.line_no, p.category FROM orders o JOIN lines l ON l.customer_id = o.customer_id AND l.order_id = o.order_id JOIN products p ON p.product_id = l.product_id WHERE o.customer_id = 19 ORDER BY 1, 2
SELECT c.name FROM customers c WHERE c.customer_id = 9 AND EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.customer_id)
SELECT (SELECT count(*) FROM orders o WHERE o.customer_id = 9) FROM customers c WHERE c.customer_id = 9
SELECT * FROM (SELECT * FROM orders WHERE customer_id = 4) s ORDER BY order_id
WITH o AS (SELECT * FROM orders WHERE customer_id = 4) SELECT count(*), sum(total) FROM o
SELECT 1 FROM customers WHERE customer_id = 3 UNION ALL SELECT 2 FROM orders WHERE customer_id = 3
SELECT order_id, row_number() OVER (ORDER BY total, order_id) FROM orders WHERE customer_id = 19 ORDER BY 1
SELECT status FROM orders WHERE customer_id = 19 GROUP BY status HAVING count(*) > 0 ORDER BY 1
SELECT c.name FROM customers c NATURAL JOIN orders o WHERE o.customer_id = 9 AND c.customer_id = 9 AND o.order_id = 1
SELECT * FROM orders WHERE customer_id = 4 ORDER BY order_id FOR UPDATE
-- Several shards: every row of each.
--- rows
SELECT * FROM customers
SELECT customer_id FROM customers
SELECT *, customer_id FROM orders
TABLE visits
SELECT c.* FROM customers c
SELECT customer_id AS id, upper(name) AS "Name", credit + 1, -customer_id % 3 FROM customers WHERE active
SELECT * FROM customers WHERE customer_id = 1 OR customer_id = 2 OR customer_id = 12
SELECT * FROM customers WHERE customer_id IN (1, 2, 3, 11, 12, 999)
SELECT * FROM customers WHERE customer_id IN (1, 1+1, 13)
SELECT * FROM customers WHERE customer_id IN (1, NULL, 12)
SELECT * FROM customers WHERE customer_id = ANY (ARRAY[1, 12, 25])
SELECT * FROM customers WHERE customer_id = ANY ('{1,12,25}')
SELECT * FROM customers WHERE customer_id = ANY ($1) <- {1,12}
SELECT * FROM customers WHERE customer_id IN ($1, $2) <- 3, 14
SELECT * FROM customers WHERE customer_id <= 20
SELECT * FROM customers WHERE customer_id BETWEEN 5 AND 15
SELECT * FROM customers WHERE customer_id <> 5
SELECT * FROM customers WHERE NOT customer_id = 5
SELECT * FROM customers WHERE customer_id % 10 = 3
SELECT * FROM customers WHERE customer_id + 0 = 3
SELECT * FROM customers WHERE customer_id = 1 + 2
SELECT * FROM customers WHERE customer_id = $1 + 1 <- 12
SELECT * FROM customers WHERE customer_id::text = '5'
SELECT * FROM customers WHERE customer_id = 9007199254740993::float8
SELECT * FROM customers WHERE customer_id = 9007199254740993.0
SELECT * FROM customers WHERE customer_id = 9007199254740992
SELECT * FROM customers WHERE customer_id = 9007199254740993
SELECT * FROM customers WHERE (customer_id = 5) IS NOT TRUE
SELECT * FROM customers WHERE (customer_id = 5) = false
SELECT * FROM customers WHERE customer_id = 5 OR name = 'Ada'
SELECT * FROM customers WHERE customer_id = length(name)
SELECT * FROM customers WHERE name = 'Ada' AND credit > 5
SELECT * FROM customers WHERE name LIKE 'E%' OR name ILIKE 'e%'
SELECT * FROM customers WHERE name IS NULL
SELECT * FROM customers WHERE born >= '1980-01-01' AND born < '1990-06-15'
SELECT * FROM customers WHERE joined > '2024-06-01 00:00:00+00'
SELECT customer_id = 5 FROM customers
SELECT customer_id, CASE WHEN customer_id = 5 THEN 'five' ELSE coalesce(name, '?') END FROM customers
SELECT name, length(name), substr(name, 1, 2), name || '!' FROM customers
SELECT customer_id, born, extract(year FROM born), date_trunc('month', joined) FROM customers
SELECT c.customer_id, o.order_id FROM customers c JOIN orders o ON c.customer_id = o.customer_id
SELECT c.customer_id, o.order_id FROM customers c, orders o WHERE c.customer_id = o.customer_id AND o.total > 12
SELECT * FROM customers c JOIN orders o USING (customer_id) JOIN lines l USING (customer_id, order_id)
SELECT c.customer_id, o.order_id FROM customers c LEFT JOIN orders o ON o.customer_id = c.customer_id
SELECT c.customer_id, o.order_id FROM orders o RIGHT JOIN customers c ON o.customer_id = c.customer_id AND o.total > 50
SELECT c.customer_id, o.order_id FROM customers c LEFT JOIN orders o ON o.customer_id = c.customer_id AND o.customer_id = 5
SELECT c.customer_id, o.order_id FROM customers c LEFT JOIN orders o ON o.customer_id = c.customer_id WHERE o.order_id IS NULL
SELECT l.customer_id, l.line_no, p.name FROM lines l JOIN products p ON p.product_id = l.product_id
SELECT l.customer_id, p.product_id FROM lines l LEFT JOIN products p ON p.product_id = l.product_id AND p.category = 'cat1'
SELECT l.customer_id, p.product_id FROM lines l, products p WHERE p.product_id = l.quantity
SELECT l.customer_id, p.product_id FROM lines l CROSS JOIN products p WHERE p.product_id = 3
SELECT v.token, p.name FROM visits v JOIN products p ON p.product_id = v.hits
SELECT a.customer_id, b.name FROM customers a JOIN customers b ON a.customer_id = b.customer_id
SELECT a.customer_id, b.order_id FROM orders a JOIN orders b ON a.customer_id = b.customer_id AND a.order_id < b.order_id
SELECT c.customer_id FROM customers c, orders o, lines l WHERE c.customer_id = o.customer_id AND l.customer_id = c.customer_id
SELECT tag, weight, price FROM lines WHERE customer_id > 0
SELECT 1 FROM orders
SELECT 'x', NULL, customer_id FROM orders WHERE total IS NULL
SELECT customer_id, $1::text FROM orders WHERE total > $2 <- note, 12
-- ORDER BY over several shards.
--- total
SELECT * FROM customers ORDER BY customer_id
SELECT * FROM customers ORDER BY customer_id DESC
SELECT customer_id, order_id FROM orders ORDER BY customer_id, order_id
SELECT customer_id, order_id FROM orders ORDER BY 1 DESC, 2
SELECT order_id, customer_id AS c FROM orders ORDER BY order_id DESC, c
SELECT name FROM customers ORDER BY customer_id
SELECT name FROM customers ORDER BY uid, customer_id
SELECT customer_id, name FROM customers ORDER BY name COLLATE "C", customer_id
SELECT customer_id, name FROM customers ORDER BY name COLLATE "C" DESC NULLS LAST, customer_id
SELECT customer_id, name FROM customers ORDER BY name COLLATE "C" NULLS FIRST, customer_id DESC
SELECT customer_id, credit FROM customers ORDER BY credit, customer_id
SELECT customer_id, credit FROM customers ORDER BY credit DESC, customer_id
SELECT customer_id, score FROM customers ORDER BY score, customer_id
SELECT customer_id, score FROM customers ORDER BY score DESC NULLS FIRST, customer_id DESC
SELECT customer_id, born FROM customers ORDER BY born NULLS FIRST, customer_id
SELECT customer_id, joined FROM customers ORDER BY joined, customer_id
SELECT customer_id, active FROM customers ORDER BY active, customer_id
SELECT customer_id FROM customers ORDER BY active DESC, born, credit DESC NULLS LAST, customer_id
SELECT customer_id, placed FROM orders ORDER BY placed DESC, customer_id, order_id
SELECT customer_id, order_id, line_no, weight, tag FROM lines ORDER BY weight, tag, customer_id, order_id, line_no
SELECT customer_id FROM customers ORDER BY (customer_id = 5), customer_id
SELECT customer_id FROM customers ORDER BY customer_id % 7, customer_id
SELECT customer_id % 7 AS m, customer_id FROM customers ORDER BY m, 2
SELECT customer_id AS name, name AS x FROM customers ORDER BY name
SELECT token, seconds FROM visits ORDER BY seconds, token COLLATE "C"
SELECT token FROM visits ORDER BY token COLLATE "C" LIMIT 7
SELECT * FROM customers ORDER BY customer_id LIMIT 5
SELECT * FROM customers ORDER BY customer_id LIMIT 5 OFFSET 3
SELECT * FROM customers ORDER BY customer_id OFFSET 40
SELECT * FROM customers ORDER BY customer_id DESC OFFSET 44 LIMIT 10
SELECT * FROM customers ORDER BY customer_id OFFSET 100
SELECT * FROM customers ORDER BY customer_id LIMIT 0
SELECT * FROM customers ORDER BY customer_id LIMIT ALL
SELECT * FROM customers ORDER BY customer_id LIMIT NULL
SELECT * FROM customers ORDER BY customer_id FETCH FIRST 3 ROWS ONLY
SELECT * FROM customers ORDER BY customer_id FETCH FIRST ROW ONLY
SELECT name FROM customers ORDER BY credit DESC, customer_id LIMIT 6
SELECT c.customer_id, o.order_id FROM customers c JOIN orders o USING (customer_id) ORDER BY o.total DESC NULLS LAST, c.customer_id, o.order_id LIMIT 9 OFFSET 2
SELECT * FROM customers WHERE customer_id <= 20 ORDER BY customer_id LIMIT 4
SELECT * FROM customers WHERE customer_id IN (3, 13, 23) ORDER BY customer_id
SELECT customer_id FROM customers WHERE name = 'nobody' ORDER BY customer_id
--- keys 1
SELECT active FROM customers ORDER BY active
SELECT priority, customer_id, order_id FROM orders ORDER BY priority DESC
SELECT order_id, status FROM orders WHERE status <> 'new' ORDER BY order_id
SELECT born, name FROM customers ORDER BY 1 NULLS FIRST
SELECT hits FROM visits ORDER BY hits DESC
--- limit 0
SELECT customer_id FROM customers LIMIT 5
SELECT customer_id, name FROM customers LIMIT 5 OFFSET 4
SELECT customer_id FROM customers OFFSET 30
SELECT customer_id, order_id FROM orders WHERE total > 5 LIMIT 3
--- limit 1
SELECT active, customer_id FROM customers ORDER BY active LIMIT 9
SELECT priority, customer_id FROM orders ORDER BY 1 NULLS FIRST LIMIT 12 OFFSET 3
-- Aggregates over several shards.
--- total
SELECT count(*) FROM customers
SELECT count(*), count(name), count(born) FROM customers
SELECT count(*) AS n FROM customers WHERE customer_id <= 20
SELECT count(*) FROM customers WHERE name = 'nobody'
SELECT sum(total), min(total), max(total), avg(total), count(total) FROM orders
SELECT sum(total), min(total), max(total), avg(total), count(total) FROM orders WHERE total < 0
SELECT sum(quantity), avg(quantity), min(quantity), max(quantity) FROM lines
SELECT sum(price), avg(price) FROM lines
SELECT sum(customer_id), avg(customer_id) FROM customers WHERE customer_id BETWEEN 0 AND 40
SELECT sum(customer_id) FROM customers
SELECT sum(priority), avg(priority), min(priority) FROM orders
SELECT min(customer_id), max(customer_id), max(score), min(born), max(joined), min(credit), max(credit) FROM customers
SELECT min(seconds), max(seconds) FROM visits
SELECT sum(credit), avg(credit) FROM customers WHERE credit <> 'NaN'
SELECT sum(credit), avg(credit) FROM customers
SELECT max(total) AS "Max", min(total + 1) FROM orders
SELECT avg(total) FROM orders WHERE customer_id > 3
SELECT count(*) FROM customers c JOIN orders o USING (customer_id)
SELECT count(*), sum(l.quantity * p.price) FROM lines l JOIN products p USING (product_id)
SELECT count(*) FROM customers LIMIT 1
SELECT count(*) FROM customers LIMIT 0
SELECT count(*) FROM customers OFFSET 1
SELECT count(*) FROM customers WHERE customer_id > $1 <- 17
SELECT sum(total * $1) FROM orders <- 2
-- GROUP BY over several shards.
--- rows
SELECT active, count(*) FROM customers GROUP BY active
SELECT region, count(*), min(customer_id) FROM customers GROUP BY region
SELECT status, count(*), sum(total), avg(total), min(placed), max(placed) FROM orders GROUP BY status
SELECT status, priority, count(*) FROM orders GROUP BY status, priority
SELECT priority, count(*) FROM orders GROUP BY 1
SELECT customer_id % 3, count(*) FROM customers GROUP BY customer_id % 3
SELECT customer_id % 3 AS m, count(*) FROM customers GROUP BY m
SELECT customer_id, count(*) FROM orders GROUP BY customer_id
SELECT count(*) FROM orders GROUP BY customer_id
SELECT date_trunc('month', joined), count(*) FROM customers GROUP BY 1
SELECT extract(year FROM born) AS y, avg(credit) FROM customers WHERE credit <> 'NaN' GROUP BY y
SELECT count(*) FROM customers GROUP BY score
SELECT count(*), count(credit) FROM customers GROUP BY credit
SELECT p.category, sum(l.quantity) FROM lines l JOIN products p USING (product_id) GROUP BY p.category
SELECT lower(name), count(*) FROM customers GROUP BY lower(name)
SELECT tag, count(*) FROM lines GROUP BY tag
--- total
SELECT status, count(*) FROM orders GROUP BY status ORDER BY status COLLATE "C"
SELECT active, count(*) AS n FROM customers GROUP BY active ORDER BY n DESC, active
SELECT customer_id, count(*) FROM orders GROUP BY customer_id ORDER BY count(*) DESC, customer_id LIMIT 10
SELECT customer_id, sum(total) FROM orders GROUP BY customer_id ORDER BY sum(total) DESC NULLS LAST, customer_id LIMIT 5 OFFSET 1
SELECT customer_id % 5 AS m, count(*), avg(customer_id) FROM customers WHERE customer_id < 100 AND customer_id >= 0 GROUP BY m ORDER BY m
SELECT product_id, sum(quantity), max(price) FROM lines GROUP BY product_id ORDER BY 2 DESC, 1
SELECT p.name, count(*) FROM lines l JOIN products p USING (product_id) GROUP BY p.name ORDER BY 2 DESC, p.name COLLATE "C" LIMIT 4
SELECT priority, count(*) FROM orders WHERE status = $1 GROUP BY priority ORDER BY 1 <- paid
-- Odd shapes and odd values over several shards.
--- rows
SELECT FROM customers
SELECT generate_series(1, 2), customer_id FROM customers
SELECT ARRAY[customer_id, 1], ROW(customer_id, name) FROM customers
SELECT customer_id FROM customers WHERE (customer_id, name) = (5, 'x') OR (customer_id, 1) IN ((6, 1), (17, 1))
SELECT customer_id FROM customers WHERE customer_id IS NOT DISTINCT FROM 5
SELECT customer_id FROM customers WHERE customer_id = ALL (ARRAY[5])
SELECT customer_id FROM customers WHERE customer_id NOT IN (1, 2)
SELECT customer_id FROM customers WHERE customer_id OPERATOR(pg_catalog.=) 5
SELECT customer_id FROM customers WHERE customer_id = 5::text::int8
SELECT customer_id FROM customers WHERE customer_id = 2.5::int8
SELECT customer_id FROM customers WHERE customer_id = 1e1
SELECT customer_id FROM customers WHERE customer_id = 70000::int2
SELECT customer_id FROM customers WHERE customer_id = ANY ('{1,12}'::int8[])
SELECT customer_id FROM customers WHERE name SIMILAR TO '(A|e)%' AND joined AT TIME ZONE 'Asia/Tokyo' > '2024-03-01'
SELECT customer_id FROM ONLY customers
SELECT c.customer_id, o.order_id FROM customers c LEFT JOIN orders o ON o.customer_id = c.customer_id WHERE o.customer_id = 5
SELECT c.customer_id, o.order_id FROM customers c LEFT JOIN orders o ON c.customer_id = 5 AND o.customer_id = c.customer_id
SELECT c.customer_id, o.order_id FROM customers c RIGHT JOIN orders o ON o.customer_id = c.customer_id AND c.customer_id = 5
SELECT c.customer_id, o.order_id FROM orders o LEFT JOIN customers c ON o.customer_id = c.customer_id WHERE c.customer_id = 14 OR o.order_id = 1
SELECT customer_id FROM customers WHERE customer_id = 5 AND customer_id = 6
SELECT customer_id FROM customers WHERE customer_id = 5 AND customer_id IN (5, 13)
SELECT customer_id FROM customers WHERE false
/* a comment */ SELECT customer_id FROM customers -- another
SELECT customer_id FROM customers;
--- total
SELECT sum(CASE WHEN customer_id = 1 THEN 'Infinity'::numeric ELSE 1 END), avg(CASE WHEN customer_id = 13 THEN 'Infinity'::numeric ELSE 1 END) FROM customers
SELECT sum(CASE WHEN customer_id = 1 THEN 'Infinity'::numeric WHEN customer_id = 13 THEN '-Infinity' ELSE 1 END) FROM customers
SELECT max(CASE WHEN customer_id = 1 THEN 'Infinity'::numeric WHEN customer_id = 13 THEN 'NaN' ELSE 1 END), min(CASE WHEN customer_id = 13 THEN '-Infinity'::numeric ELSE 1 END) FROM customers
SELECT avg(total / 7), sum(total / 7), avg(order_id * 0.00000000000000000001), avg(order_id * 100000000000000000000.0) FROM orders
SELECT avg(total * 0.00000000000000000001), avg(-total), sum(-total) FROM orders WHERE total IS NOT NULL
SELECT avg(x.total) FROM orders x WHERE x.total = 33.333333333333333333
SELECT min(CASE WHEN customer_id = 13 THEN '-infinity'::date ELSE born END), max(CASE WHEN customer_id = 2 THEN 'infinity'::timestamptz ELSE joined END) FROM customers
SELECT customer_id, CASE WHEN customer_id = 13 THEN '0044-03-15 BC'::date WHEN customer_id = 2 THEN 'infinity' ELSE born END AS d FROM customers ORDER BY d DESC, 1
SELECT customer_id, CASE WHEN customer_id = 13 THEN 'Infinity'::numeric WHEN customer_id = 2 THEN '-Infinity' ELSE credit END AS c FROM customers ORDER BY c, 1
SELECT sum(order_id * 2000000000::int8), sum(order_id::int8 * 4611686018427387904 / 8) FROM orders
SELECT sum(2000000000) FROM orders
SELECT count(*) FROM customers ORDER BY 1
SELECT customer_id FROM customers ORDER BY length(name) NULLS FIRST, customer_id LIMIT 9223372036854775807 OFFSET 5
SELECT customer_id FROM customers ORDER BY customer_id OFFSET 5 ROWS FETCH NEXT 3 ROWS ONLY
SELECT customer_id, name FROM customers ORDER BY customer_id % 2, customer_id DESC LIMIT 10
-- What is computed over the combined groups: HAVING, expressions, DISTINCT, orders that PostgreSQL alone knows.
--- total
SELECT count(*) FILTER (WHERE customer_id = 5) FROM customers
SELECT count(DISTINCT status) FROM orders
SELECT sum(total) / sum(priority) FROM orders
SELECT coalesce(sum(total), 0) FROM orders
SELECT coalesce(sum(total), 0), coalesce(max(status), '?') FROM orders WHERE total < -999
SELECT sum(score) FROM customers WHERE score < 'Infinity'
SELECT avg(score) FROM customers WHERE score < 'Infinity'
SELECT sum(weight) FROM lines
SELECT bool_and(active), bool_or(active), every(active) FROM customers
SELECT bit_and(order_id), bit_or(order_id), bit_xor(order_id) FROM orders
SELECT min(name), max(name), min(region), max(email) FROM customers
SELECT min(name COLLATE "C"), max(name COLLATE "C") FROM customers
SELECT round(avg(total), 2), sum(total)::text || '!', -count(*) FROM orders
SELECT sum(a.total) / nullif(sum(a.priority), 0) AS ratio FROM orders a
SELECT sum(joined - '2020-01-01'), avg(joined - '2020-01-01') FROM customers
SELECT count(*) > $1, sum(total) + $2 FROM orders <- 5, 1.5
SELECT 'x', $1::text, count(*) FROM orders <- y
SELECT 1 FROM orders HAVING count(*) > 3
SELECT 1 FROM orders HAVING count(*) < 3
SELECT status, count(*) FROM orders GROUP BY status ORDER BY status
SELECT status FROM orders GROUP BY status ORDER BY count(*) DESC, max(order_id), status LIMIT 3
SELECT status, count(*) FROM orders GROUP BY status HAVING count(*) > 1 AND sum(total) > 3 ORDER BY 1
SELECT status, count(*) FROM orders GROUP BY status HAVING count(*) > $1 ORDER BY 1 <- 2
SELECT upper(status), sum(total) * 2 FROM orders GROUP BY status ORDER BY 1
SELECT priority + 1, count(*) FROM orders GROUP BY priority ORDER BY priority NULLS FIRST
SELECT customer_id % 3 AS m, count(DISTINCT status), sum(DISTINCT priority), avg(DISTINCT priority), count(*) FROM orders GROUP BY m ORDER BY m
SELECT count(DISTINCT status) FILTER (WHERE total > 10), count(DISTINCT priority) FROM orders
SELECT count(DISTINCT credit) FROM customers
SELECT count(DISTINCT c.name) FROM customers c JOIN orders o USING (customer_id)
SELECT status, rank() OVER (ORDER BY count(*) DESC), sum(count(*)) OVER () FROM orders GROUP BY status ORDER BY 1
SELECT DISTINCT count(*) FROM orders GROUP BY status ORDER BY 1
SELECT region, min(name) FROM customers GROUP BY region ORDER BY region DESC NULLS LAST
SELECT name, count(*) FROM customers GROUP BY name ORDER BY name LIMIT 5 OFFSET 1
SELECT CASE WHEN count(*) > 10 THEN 'many' ELSE 'few' END FROM orders
SELECT count(*) FROM orders GROUP BY status HAVING status = 'paid'
SELECT extract(year FROM born)::int, count(*) FROM customers GROUP BY 1 HAVING avg(credit) IS NOT NULL ORDER BY 1
SELECT p.category, sum(l.quantity * l.price) / sum(l.quantity) FROM lines l JOIN products p USING (product_id) GROUP BY p.category ORDER BY 1
SELECT greatest(max(priority), 3), least(min(order_id), -1) FROM orders
SELECT sum(total) IS NULL, count(*) BETWEEN 1 AND 5000, max(status) LIKE 's%' FROM orders
SELECT count(*) / 0 FROM customers WHERE customer_id > 0
SELECT name FROM customers ORDER BY name, customer_id
SELECT token FROM visits ORDER BY token
SELECT token FROM visits ORDER BY token DESC LIMIT 3 OFFSET 2
SELECT region FROM customers ORDER BY region
SELECT region, name FROM customers WHERE active ORDER BY region COLLATE "C", customer_id
SELECT * FROM customers ORDER BY lower(name), customer_id
SELECT customer_id, name FROM customers ORDER BY name COLLATE "en_US" NULLS FIRST, customer_id
SELECT row_number() OVER (ORDER BY customer_id) FROM customers
SELECT customer_id, row_number() OVER (ORDER BY customer_id DESC), name FROM customers ORDER BY name, 1 LIMIT 4
SELECT customer_id, lag(name) OVER (ORDER BY customer_id), sum(customer_id % 100) OVER w FROM customers WINDOW w AS (PARTITION BY active ORDER BY customer_id) ORDER BY 1
-- What the shards compute by themselves, since each key is on one of them.
--- total
SELECT customer_id, count(*), string_agg(status, ',' ORDER BY order_id), array_agg(total ORDER BY order_id) FROM orders GROUP BY customer_id HAVING count(*) > 1 ORDER BY customer_id
SELECT c.customer_id, c.name, stddev(o.total), percentile_cont(0.5) WITHIN GROUP (ORDER BY o.total) FROM customers c JOIN orders o USING (customer_id) GROUP BY c.customer_id ORDER BY c.customer_id
SELECT c.*, count(o.order_id) FROM customers c LEFT JOIN orders o USING (customer_id) GROUP BY c.customer_id ORDER BY c.customer_id
SELECT customer_id, order_id, rank() OVER (PARTITION BY customer_id ORDER BY total NULLS FIRST, order_id) FROM orders ORDER BY 1, 2
SELECT customer_id, order_id, sum(total) OVER (PARTITION BY customer_id ORDER BY order_id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM orders ORDER BY 1, 2 LIMIT 9
SELECT customer_id, rank() OVER (PARTITION BY customer_id ORDER BY count(*)) FROM orders GROUP BY customer_id, status ORDER BY 1, 2
SELECT customer_id, count(*), rank() OVER (ORDER BY count(*) DESC, customer_id) FROM orders GROUP BY customer_id ORDER BY 3 LIMIT 4
SELECT DISTINCT customer_id, status FROM orders ORDER BY 1, 2
SELECT DISTINCT ON (customer_id) customer_id, order_id, status FROM orders ORDER BY customer_id, order_id DESC
SELECT DISTINCT ON (customer_id) customer_id, count(*) FROM orders GROUP BY customer_id, status ORDER BY customer_id, count(*) DESC
SELECT token, count(*) FROM visits GROUP BY token ORDER BY token
-- DISTINCT over shards, and how many rows are wanted.
--- total
SELECT DISTINCT status FROM orders ORDER BY status
SELECT DISTINCT priority FROM orders ORDER BY priority NULLS FIRST
SELECT DISTINCT active, region FROM customers ORDER BY 1, 2 LIMIT 3 OFFSET 1
SELECT DISTINCT ON (priority) priority, customer_id, order_id FROM orders ORDER BY priority, customer_id, order_id
SELECT DISTINCT ON (status) status, total FROM orders ORDER BY status, total, order_id
SELECT DISTINCT ON (status, priority) status, priority, order_id FROM orders ORDER BY priority DESC, status, customer_id, order_id LIMIT 5
SELECT DISTINCT p.category FROM lines l JOIN products p USING (product_id) ORDER BY 1
SELECT DISTINCT customer_id % 3 FROM customers ORDER BY 1
SELECT customer_id FROM customers ORDER BY customer_id LIMIT 1 + 1
SELECT customer_id FROM customers ORDER BY customer_id LIMIT 2 * 3 OFFSET 5 - 2
SELECT customer_id FROM customers ORDER BY customer_id LIMIT $1 <- 3
SELECT customer_id FROM customers ORDER BY customer_id LIMIT $1 OFFSET $2 <- 3, 4
SELECT customer_id FROM customers ORDER BY customer_id LIMIT $1 <- NULL
SELECT customer_id FROM customers WHERE active = $2 ORDER BY customer_id OFFSET $1 + 1 <- 3, t
SELECT status, count(*) FROM orders GROUP BY status ORDER BY 2 DESC, 1 LIMIT $1 <- 2
SELECT count(*) FROM orders LIMIT $1::int8 <- 1
SELECT customer_id FROM customers ORDER BY customer_id FETCH FIRST $1 ROWS ONLY <- 6
SELECT customer_id FROM customers ORDER BY customer_id FETCH FIRST 2 ROWS WITH TIES
SELECT priority FROM orders ORDER BY priority FETCH FIRST 4 ROWS WITH TIES
SELECT priority FROM orders ORDER BY priority DESC OFFSET 3 ROWS FETCH FIRST 2 ROWS WITH TIES
SELECT status FROM orders ORDER BY status FETCH FIRST ROW WITH TIES
SELECT active, count(*) FROM customers GROUP BY active ORDER BY active FETCH FIRST 1 ROWS WITH TIES
SELECT priority FROM orders ORDER BY priority FETCH FIRST 0 ROWS WITH TIES
SELECT DISTINCT priority FROM orders ORDER BY priority FETCH FIRST 2 ROWS WITH TIES
--- rows
SELECT DISTINCT status FROM orders
SELECT DISTINCT active FROM customers
SELECT DISTINCT customer_id FROM orders
SELECT DISTINCT * FROM customers
SELECT DISTINCT uid FROM customers
SELECT DISTINCT o.customer_id FROM customers c LEFT JOIN orders o USING (customer_id)
SELECT o.customer_id, count(*) FROM customers c LEFT JOIN orders o ON o.customer_id = c.customer_id GROUP BY o.customer_id
SELECT name, rank() OVER (PARTITION BY name ORDER BY customer_id) FROM customers
--- limit 0
SELECT DISTINCT status FROM orders LIMIT 2
SELECT DISTINCT customer_id FROM orders LIMIT 4 OFFSET 1
-- Rows that are locked.
--- rows
SELECT customer_id, name FROM customers WHERE customer_id < 100 FOR UPDATE
SELECT * FROM customers WHERE customer_id IN ($1, 13, 14) FOR NO KEY UPDATE NOWAIT <- 1
SELECT o.order_id, c.name FROM customers c JOIN orders o ON o.customer_id = c.customer_id WHERE o.total > 10 FOR SHARE OF o SKIP LOCKED
--- total
SELECT customer_id, credit FROM customers ORDER BY name DESC, customer_id FOR KEY SHARE
-- Subqueries that each shard answers for its own rows.
--- rows
SELECT customer_id, EXISTS (SELECT FROM orders o WHERE o.customer_id = c.customer_id AND total > 20) FROM customers c
SELECT customer_id, (SELECT count(*) FROM orders WHERE customer_id = c.customer_id), (SELECT max(price) FROM products) FROM customers c
SELECT customer_id, ARRAY(SELECT order_id FROM orders o WHERE o.customer_id = c.customer_id ORDER BY total DESC NULLS LAST, order_id LIMIT 2) FROM customers c
SELECT * FROM customers c WHERE NOT EXISTS (SELECT 1 FROM orders o JOIN lines l ON l.customer_id = o.customer_id AND l.order_id = o.order_id WHERE o.customer_id = c.customer_id)
SELECT customer_id FROM customers WHERE customer_id IN (SELECT customer_id FROM orders WHERE status = $1) <- paid
SELECT customer_id FROM customers WHERE customer_id NOT IN (SELECT customer_id FROM orders WHERE total > $1) AND name IS NOT NULL <- 12.5
SELECT customer_id, name FROM customers WHERE customer_id IN (SELECT customer_id FROM orders GROUP BY customer_id HAVING count(*) > 2)
SELECT customer_id, order_id FROM orders WHERE (order_id, customer_id) IN (SELECT order_id, customer_id FROM lines WHERE quantity BETWEEN 2 AND 5)
SELECT o.customer_id, o.order_id FROM orders o WHERE total > (SELECT avg(p.total) FROM orders p WHERE p.customer_id = o.customer_id)
SELECT o.customer_id FROM orders o WHERE o.total >= ALL (SELECT total FROM orders p WHERE p.customer_id = o.customer_id AND total IS NOT NULL)
SELECT c.customer_id, (SELECT sum(quantity) FROM lines l WHERE l.customer_id = c.customer_id AND EXISTS (SELECT FROM products p WHERE p.product_id = l.product_id AND p.price > 5)) FROM customers c
SELECT status, count(*) FROM orders o WHERE EXISTS (SELECT FROM lines l WHERE l.customer_id = o.customer_id AND l.order_id = o.order_id) GROUP BY status
SELECT count(*), sum(total) FROM orders o WHERE total < (SELECT max(q.price) * 3 FROM lines q WHERE q.customer_id = o.customer_id) OR status IN (SELECT name FROM products)
SELECT c.customer_id FROM customers c LEFT JOIN orders o ON o.customer_id = c.customer_id AND EXISTS (SELECT FROM products WHERE product_id = o.order_id) WHERE o.order_id IS NULL
--- total
SELECT customer_id, (SELECT max(placed) FROM orders o WHERE o.customer_id = c.customer_id) AS last FROM customers c WHERE EXISTS (SELECT FROM orders o WHERE o.customer_id = c.customer_id) ORDER BY last DESC, customer_id LIMIT 7
SELECT customer_id FROM customers c ORDER BY (SELECT count(*) FROM orders o WHERE o.customer_id = c.customer_id) DESC, customer_id OFFSET 2 LIMIT 5
SELECT DISTINCT (SELECT min(order_id) FROM orders o WHERE o.customer_id = c.customer_id) AS first FROM customers c ORDER BY 1
SELECT customer_id, (SELECT 1 / (count(*) - 2) FROM orders o WHERE o.customer_id = c.customer_id) FROM customers c WHERE customer_id = 3
SELECT (SELECT order_id FROM orders o WHERE o.customer_id = c.customer_id) FROM customers c ORDER BY customer_id
-- Rows that the statement gives.
--- rows
SELECT c.name, v.note FROM customers c JOIN (VALUES (1, 'a'), (2, 'b'), (13, NULL), (2, 'again')) v (id, note) ON v.id = c.customer_id
SELECT c.customer_id, g FROM customers c CROSS JOIN generate_series(1, $1) g WHERE c.customer_id < 4 <- 3
SELECT v.kind, count(*), sum(o.total) FROM orders o JOIN (VALUES ('paid', 'good'), ('void', 'bad')) v (status, kind) USING (status) GROUP BY v.kind
SELECT o.order_id FROM orders o LEFT JOIN (VALUES (1), (2)) AS v (n) ON v.n = o.order_id WHERE v.n IS NULL
-- Subqueries in FROM over rows that every shard has.
SELECT o.customer_id, o.order_id, p.label FROM orders o JOIN (SELECT product_id AS id, upper(name) AS label FROM products WHERE price > 2) p ON p.id = o.priority
SELECT p.name, count(*), sum(l.quantity) FROM lines l JOIN (SELECT * FROM products WHERE category IS NOT NULL) p USING (product_id) GROUP BY p.name
SELECT c.customer_id, s.word FROM customers c LEFT JOIN (SELECT 1 AS id, 'one' AS word) s ON s.id = c.customer_id WHERE c.customer_id < 20
SELECT count(*) FROM customers c, (SELECT generate_series(1, $1::int4) AS n) s WHERE s.n = c.customer_id <- 12
SELECT o.order_id, p.* FROM orders o JOIN (SELECT a.product_id, b.name FROM products a LEFT JOIN products b ON b.product_id = a.product_id + 1) p ON p.product_id = o.order_id
