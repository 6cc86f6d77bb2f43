-- What Weir cannot answer as one PostgreSQL would. Each was answered wrongly and in silence by somebody.
--- refused
SELECT * FROM customers ORDER BY customer_id LIMIT 5 FOR UPDATE
SELECT count(*) OVER () FROM customers WHERE name IN (SELECT status FROM orders) FOR UPDATE
SELECT ctid FROM customers
SELECT tableoid FROM customers
SELECT customers FROM customers
SELECT pg_backend_pid(), customer_id FROM customers
SELECT nextval('numbers'), customer_id FROM customers
SELECT * FROM customers, pg_class
SELECT c.customer_id FROM customers c JOIN pg_class p ON p.relname = c.name
SELECT * FROM customers WHERE customer_id = order_key(5)
SELECT * FROM nowhere
EXPLAIN (FORMAT json) SELECT * FROM customers
EXPLAIN SELECT ctid FROM customers
SELECT customer_id INTO copied FROM customers
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
