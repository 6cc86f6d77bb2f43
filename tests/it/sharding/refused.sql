-- What Weir cannot answer as one PostgreSQL would. Each was answered wrongly and in silence by somebody.
--- refused
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
SELECT DISTINCT ON (status) status, total FROM orders ORDER BY status, total
SELECT status FROM orders GROUP BY status HAVING count(*) > 1
SELECT row_number() OVER (ORDER BY customer_id) FROM customers
SELECT customer_id, rank() OVER (PARTITION BY customer_id ORDER BY total) FROM orders
SELECT sum(total) / sum(priority) FROM orders
SELECT coalesce(sum(total), 0) FROM orders
SELECT sum(score) FROM customers
SELECT avg(score) FROM customers
SELECT sum(weight) FROM lines
SELECT string_agg(name, ',') FROM customers
SELECT array_agg(customer_id) FROM customers
SELECT stddev(total) FROM orders
SELECT bool_and(active) FROM customers
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY score) FROM customers
SELECT grouping(status), count(*) FROM orders GROUP BY ROLLUP (status)
SELECT status, region, count(*) FROM orders JOIN customers USING (customer_id) GROUP BY GROUPING SETS ((status), (region))
SELECT name FROM customers ORDER BY name
SELECT token FROM visits ORDER BY token
SELECT region FROM customers ORDER BY region
SELECT min(name) FROM customers
SELECT status, count(*) FROM orders GROUP BY status ORDER BY status
SELECT * FROM customers ORDER BY customer_id LIMIT 1 + 1
SELECT * FROM customers ORDER BY customer_id LIMIT $1 <- 3
SELECT * FROM customers ORDER BY customer_id LIMIT (SELECT 2)
SELECT * FROM customers ORDER BY customer_id FETCH FIRST 2 ROWS WITH TIES
SELECT * FROM customers FOR UPDATE
SELECT * FROM customers WHERE customer_id IN (1, 13) FOR SHARE
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
SELECT * FROM customers TABLESAMPLE bernoulli (50)
SELECT now(), customer_id FROM customers
SELECT customer_id FROM customers WHERE joined < now()
SELECT customer_id FROM customers WHERE joined < CURRENT_TIMESTAMP
SELECT customer_id FROM customers WHERE joined < 'now'
SELECT customer_id FROM customers WHERE born < 'today'
SELECT customer_id FROM customers WHERE born < date 'yesterday'
SELECT customer_id FROM customers WHERE born < $1 <- today
SELECT customer_id FROM customers WHERE joined < $1 <- now
SELECT customer_id FROM customers WHERE joined < $1::timestamptz <- now
SELECT random(), customer_id FROM customers
SELECT ctid FROM customers
SELECT tableoid FROM customers
SELECT customers FROM customers
SELECT ROW(c.*) FROM customers c
SELECT pg_backend_pid(), customer_id FROM customers
SELECT current_user, customer_id FROM customers
SELECT nextval('numbers'), customer_id FROM customers
SELECT * FROM customers, pg_class
SELECT c.customer_id FROM customers c JOIN pg_class p ON p.relname = c.name
SELECT * FROM customers WHERE customer_id = order_key(5)
SELECT orders.customer_id, public.orders.order_id FROM public.orders
SELECT region, name FROM customers WHERE active ORDER BY region COLLATE "C"
SELECT min(name COLLATE "C"), max(name COLLATE "C") FROM customers
SELECT * FROM nowhere
SELECT nosuch FROM customers
EXPLAIN SELECT * FROM customers
COPY customers TO STDOUT
COPY (SELECT * FROM customers) TO STDOUT
SELECT customer_id INTO copied FROM customers
CREATE TABLE copied AS SELECT * FROM customers
DECLARE c CURSOR FOR SELECT * FROM customers
PREPARE p AS SELECT * FROM customers
DO $$ BEGIN PERFORM 1; END $$
SET search_path = public, pg_catalog
SET ROLE weir
SET standard_conforming_strings = off
SET client_encoding = 'LATIN1'
SET NAMES 'SJIS'
SET DateStyle = 'German, DMY'
SET datestyle TO sql
SET bytea_output = escape
SET extra_float_digits = 0
SET LOCAL extra_float_digits = '-3'
SET transform_null_equals = on
SET default_transaction_isolation = 'repeatable read'
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE
SET SESSION AUTHORIZATION weir
--- total
-- Settings that may change, and what is seen of them.
SET standard_conforming_strings = on
SET client_encoding = 'UTF-8'
SET NAMES 'unicode'
SET DateStyle = 'ISO, DMY'
SET extra_float_digits = 3
SET intervalstyle = iso_8601
SET timezone = 'Asia/Kolkata'
SELECT customer_id, joined, score, born FROM customers ORDER BY joined, customer_id
SELECT customer_id FROM customers WHERE joined < '2024-06-01 05:30' ORDER BY customer_id
SHOW timezone
RESET timezone
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED
RESET ALL
SHOW timezone
SELECT customer_id, joined, score, born FROM customers ORDER BY joined, customer_id
