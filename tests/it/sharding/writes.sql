-- Writes, in this order. After all of them the tables must be the same.
--- total
INSERT INTO customers (customer_id, name) VALUES (200 + 1, 'computed')
INSERT INTO customers (customer_id, name) SELECT 202, 'selected'
INSERT INTO orders (customer_id, order_id, total) SELECT customer_id, 77, credit FROM customers WHERE customer_id IN (201)
DELETE FROM orders WHERE customer_id = ANY ('{201}') AND order_id = 77 RETURNING total
DELETE FROM customers WHERE (customer_id, name) IN ((201, 'computed'), (201, 'x')) RETURNING *
DELETE FROM customers WHERE customer_id = 200 + 2 RETURNING name
INSERT INTO customers (customer_id, name) VALUES (190, 'short')
WITH gone AS (DELETE FROM customers WHERE customer_id = 190 RETURNING *) INSERT INTO customers SELECT * FROM gone RETURNING *
WITH there AS (UPDATE customers SET name = 'longer' WHERE customer_id = 190 RETURNING name, customer_id) SELECT * FROM there
WITH gone AS (DELETE FROM customers WHERE customer_id = 190 RETURNING *) SELECT g.name, o.total FROM gone g LEFT JOIN orders o USING (customer_id)
INSERT INTO customers (customer_id, name) VALUES (100, 'new')
INSERT INTO customers (name, customer_id) VALUES ('other', 101) RETURNING customer_id, name
INSERT INTO customers (customer_id, name) VALUES ($1, $2) <- 102, bound
INSERT INTO customers (customer_id, name) VALUES ($1, $2) RETURNING * <- 103, bound
INSERT INTO customers (customer_id, name) VALUES (100, 'again')
INSERT INTO customers (customer_id, name) VALUES (100, 'again') ON CONFLICT DO NOTHING
INSERT INTO customers (customer_id, name) VALUES (100, 'again') ON CONFLICT (customer_id) DO UPDATE SET name = excluded.name || '!' RETURNING name
INSERT INTO customers VALUES ('104', 'quoted')
INSERT INTO customers VALUES (105::int8, 'cast', DEFAULT)
INSERT INTO customers VALUES (-105, 'negative')
INSERT INTO orders VALUES (100, 1, '2024-05-05', 'new', 10), (100, 2, '2024-05-06', 'new', 20)
INSERT INTO orders VALUES (100, 2, '2024-05-05', 'new', 10), (100, 3, '2024-05-06', 'new', 20)
INSERT INTO orders VALUES (999, 1, '2024-05-05', 'new', 10)
INSERT INTO customers (customer_id, credit) VALUES (106, 'abc')
UPDATE customers SET name = 'changed' WHERE customer_id = 1
UPDATE customers SET credit = credit + 1, active = NOT active WHERE customer_id = 12 RETURNING credit
UPDATE customers SET name = $2 WHERE customer_id = $1 <- 13, bound
UPDATE orders SET total = total * 2 WHERE customer_id = 5 AND order_id <> 1
UPDATE orders o SET status = c.name FROM customers c WHERE c.customer_id = o.customer_id AND o.customer_id = 4
UPDATE lines SET price = p.price FROM products p WHERE p.product_id = lines.product_id AND customer_id = 9
UPDATE customers SET name = 'nobody' WHERE customer_id = 777
UPDATE customers SET name = 'nobody' WHERE customer_id = NULL
DELETE FROM lines WHERE customer_id = 4
DELETE FROM orders WHERE customer_id = 4 AND order_id = 1 RETURNING *
DELETE FROM orders o USING customers c WHERE c.customer_id = o.customer_id AND o.customer_id = 8 AND o.order_id = 1
DELETE FROM customers WHERE customer_id = 9
INSERT INTO visits VALUES ('new token', 1, 2, '10:00'), ('new token', 1, 2, '10:00')
INSERT INTO visits VALUES ('new token', 1, 2, '10:00')
UPDATE visits SET hits = hits + 1 WHERE token = 'new token' RETURNING hits
DELETE FROM visits WHERE token = $1 <- new token
-- Reference tables: on all shards alike.
INSERT INTO products VALUES (20, 'twenty', 'cat1', 9.99, '2020-02-02')
INSERT INTO products VALUES (21, 'a', NULL, 1, NULL), (22, 'b', NULL, 2, NULL) RETURNING product_id, name
INSERT INTO products VALUES (20, 'again', 'cat1', 9.99, '2020-02-02')
INSERT INTO products (product_id, name) VALUES ($1, $2) <- 23, bound
INSERT INTO products (product_id, name) VALUES ($1, $2) RETURNING product_id + 1 AS next <- 24, bound
UPDATE products SET price = price * 1.1 WHERE category = 'cat1'
UPDATE products SET name = upper(name) WHERE product_id = $1 RETURNING name <- 20
UPDATE products SET price = 1 / (product_id - 20) WHERE product_id >= 20
DELETE FROM products WHERE product_id = 21
DELETE FROM products WHERE product_id = 1
INSERT INTO products SELECT 30, 'thirty'
TRUNCATE lines
INSERT INTO lines VALUES (12, 1, 9, 3, 1, 1, 1, '')
-- Rows of several shards.
--- rows
INSERT INTO customers (customer_id, name) VALUES (301, 'a'), (302, 'b'), (303, 'c'), (304, 'd'), (305, 'e'), (-306, 'f'), (12, 'taken'), (15, 'taken')
INSERT INTO customers (customer_id, name) VALUES (301, 'a'), (302, 'b'), (303, 'c'), (304, 'd'), (-305, 'e'), (-306, 'f'), (17, 'taken') ON CONFLICT DO NOTHING
INSERT INTO customers (customer_id, name, credit) VALUES (301, 'A', 1), (-302, 'B', DEFAULT), (303, upper('c'), 1 + 2), (-304, 'D', NULL), (305, 'it''s', 1) ON CONFLICT (customer_id) DO UPDATE SET name = excluded.name || customers.name, credit = 7 WHERE customers.name <> 'x' RETURNING customer_id, name, credit
INSERT INTO orders VALUES (301, 1, '2024-01-01', 'new', 1), (-302, 1, '2024-01-01', 'new', 2), (303, 1, '2024-01-01', 'new', 3), (301, 2, '2024-01-01', 'new', 3)
INSERT INTO orders VALUES (301, 3, '2024-01-01', 'new', 1), (-302, 2, '2024-01-01', 'new', 2), (303, 2, '2024-01-01', 'new', 'three')
INSERT INTO orders VALUES (301, 3, '2024-01-01', 'new', 1), (-302, 2, '2024-01-01', 'new', 2), (9303, 2, '2024-01-01', 'new', 3)
INSERT INTO orders (order_id, customer_id, total) VALUES ($1, $2, $3), ($1, $4, $5), ($6, -302, $3) <- 50, 301, 1.5, 303, 2.50, 51
INSERT INTO customers VALUES (311), (-312), (313), (-314, 'x')
INSERT INTO customers (customer_id, name) VALUES (311, 'a'), (-312, 'b'), (NULL, 'c')
INSERT INTO customers (customer_id, name) VALUES (311, 'a'), (-312, 'b'), (311, 'c')
INSERT INTO customers (customer_id, name) VALUES (311, $1), (-312, $2), (313, NULL) RETURNING name, customer_id <- x, NULL
--- total
INSERT INTO customers (customer_id, name) VALUES (321, 'a'), (-322, 'b'), (323, 'c'), (-324, 'd'), (325, 'e'), (1326, 'f') RETURNING *
INSERT INTO customers (name, customer_id) VALUES ('a', 331), ('b', -332), ('c', 333), ('d', -334) ON CONFLICT (customer_id) DO UPDATE SET name = 'again' RETURNING name || '!' AS loud, customer_id
--- rows
UPDATE customers SET name = name || '+' WHERE customer_id > 300 RETURNING customer_id, name
UPDATE customers SET name = 'some', credit = credit * 2 WHERE customer_id IN (321, -322, 323, -324)
UPDATE customers SET (name, credit) = ('both', 3) WHERE customer_id IN ($1, $2, $3) RETURNING * <- 321, -322, 325
UPDATE customers SET email = 'far too long for this column, which has room for only forty characters' WHERE customer_id > 300
UPDATE customers SET credit = 1 / (customer_id - 323) WHERE customer_id IN (321, -322, 323)
UPDATE customers SET name = 'x' WHERE customer_id % 10 = 3 AND customer_id > 300
UPDATE customers SET name = 'Ada' WHERE customer_id = 331 OR name = 'some'
UPDATE orders SET status = c.name FROM customers c WHERE c.customer_id = orders.customer_id AND orders.order_id = 1 RETURNING orders.customer_id, status
UPDATE lines l SET price = p.price + o.total FROM products p, orders o WHERE p.product_id = l.product_id AND o.customer_id = l.customer_id AND o.order_id = l.order_id
UPDATE visits SET hits = hits + 1, seconds = DEFAULT WHERE hits > $1 <- 3
UPDATE customers SET nosuch = 1
INSERT INTO orders SELECT customer_id, 60, '2024-01-01' FROM customers
INSERT INTO orders (total, order_id, customer_id) SELECT o.total * 2, 61, c.customer_id FROM customers c JOIN orders o USING (customer_id) WHERE o.order_id = 1 AND c.name <> 'x' RETURNING customer_id, total
INSERT INTO orders SELECT * FROM orders ON CONFLICT (customer_id, order_id) DO UPDATE SET total = orders.total + 1
INSERT INTO orders SELECT customer_id, 60 FROM customers WHERE customer_id = 1 OR customer_id > 10
MERGE INTO orders o USING customers c ON o.customer_id = c.customer_id AND o.order_id = 62 WHEN MATCHED THEN DELETE WHEN NOT MATCHED AND c.active THEN INSERT (customer_id, order_id, status) VALUES (c.customer_id, 62, c.name)
MERGE INTO orders o USING customers c ON o.customer_id = c.customer_id AND o.order_id IN (60, 62) WHEN MATCHED AND o.order_id = 62 THEN DELETE WHEN MATCHED THEN UPDATE SET total = c.credit WHEN NOT MATCHED THEN DO NOTHING
MERGE INTO lines l USING products p ON l.product_id = p.product_id WHEN MATCHED THEN UPDATE SET price = p.price WHEN NOT MATCHED THEN DO NOTHING
MERGE INTO customers USING products ON customer_id = product_id WHEN MATCHED THEN DELETE
DELETE FROM orders WHERE order_id >= 60
UPDATE customers SET name = 'none' WHERE customer_id > 100000000 AND customer_id < 100000010
DELETE FROM customers
DELETE FROM customers WHERE name = 'Ada' AND customer_id > 300 RETURNING customer_id
DELETE FROM orders USING customers c WHERE c.customer_id = orders.customer_id AND c.name LIKE 'both%'
DELETE FROM customers WHERE customer_id IN (301, -302, 303, -304, 305)
DELETE FROM orders WHERE customer_id IN (301, -302, 303, -304, 305) RETURNING total, order_id
DELETE FROM customers WHERE customer_id IN (301, -302, 303, -304, 305, -306) RETURNING *
DELETE FROM customers WHERE customer_id > 300 OR customer_id BETWEEN -400 AND -300
-- Rows of a query that belong to other shards than those that they are made of.
INSERT INTO visits (token, customer_id, hits) SELECT 'copy ' || token, customer_id, hits FROM visits WHERE hits > 5
INSERT INTO visits SELECT 'c' || customer_id, customer_id, 1 FROM customers WHERE customer_id BETWEEN 1 AND 30 RETURNING token, hits
INSERT INTO orders SELECT customer_id, 90, '2024-01-01' FROM customers ORDER BY customer_id LIMIT 7 RETURNING customer_id, placed
INSERT INTO orders SELECT o.customer_id, 91 + p.product_id FROM orders o JOIN products p ON p.product_id = o.priority WHERE o.order_id = 1
INSERT INTO visits (token, seconds, hits) SELECT $1 || n, $2, $3 FROM generate_series(1, $3) n RETURNING * <- ser, 10:00, 5
INSERT INTO visits (token, hits) SELECT token || $1, hits + $2 FROM visits WHERE customer_id = $3 RETURNING hits, token <- ~, 100, 3
INSERT INTO customers (customer_id, name, region) SELECT product_id + 2000, name, category FROM products
INSERT INTO customers (customer_id, credit, score, born, uid) SELECT product_id + 2000, price, price, launched, '00000000-0000-4000-8000-000000000001' FROM products RETURNING *
INSERT INTO customers (customer_id, name) SELECT customer_id + 3000, max(status) FROM orders WHERE customer_id < 1000000 GROUP BY customer_id HAVING count(*) > 1
INSERT INTO customers SELECT customer_id + 5000, name, email, region, born, credit, score, active, joined, uid FROM customers WHERE customer_id < 100 AND customer_id > 0
INSERT INTO visits (token) SELECT name FROM products UNION SELECT name FROM customers WHERE name <> '' ON CONFLICT DO NOTHING
INSERT INTO visits AS v (token, hits) SELECT token, count(*) FROM visits GROUP BY token ON CONFLICT (token) DO UPDATE SET hits = v.hits + excluded.hits RETURNING *
INSERT INTO visits (token, hits) SELECT 'twice', n FROM generate_series(1, 2) n ON CONFLICT (token) DO UPDATE SET hits = 1
WITH w AS (SELECT customer_id, count(*) AS n FROM orders GROUP BY 1) INSERT INTO visits (token, hits) SELECT 'w' || customer_id, n FROM w WHERE n > 1
INSERT INTO products (product_id, name, price) SELECT customer_id + 600, name, credit FROM customers WHERE customer_id BETWEEN 1 AND 5 AND name <> '' RETURNING name
INSERT INTO visits (token) SELECT 'x', 'y' FROM customers WHERE false
INSERT INTO visits (token, hits) SELECT 'none', 1 FROM customers WHERE name = 'nobody at all'
INSERT INTO visits (token, hits) SELECT token, 'many' FROM visits
INSERT INTO visits (token, hits) SELECT token, hits FROM visits
INSERT INTO visits (token, hits) SELECT token || '/', 1 / (hits - 7) FROM visits
INSERT INTO visits (token, hits) SELECT NULL, hits FROM visits WHERE hits = 7
INSERT INTO customers (customer_id, name, active, joined) SELECT n + 0.4, 'rounded', n > 4005, NULL FROM generate_series(4001.1, 4010) n
-- Keys that are computed.
INSERT INTO customers (customer_id, name) VALUES (2401, 'a'), (-2402, 'b'), (length('abc') + 2000, 'c') RETURNING customer_id
INSERT INTO customers (customer_id, name) VALUES ((SELECT 2201), 'computed') RETURNING *
INSERT INTO customers (customer_id, name) VALUES (length($1) + $2, $1) RETURNING customer_id, name <- abc, 2000
INSERT INTO customers (name, customer_id) VALUES ($1, (SELECT 1 + max(customer_id) FROM customers WHERE customer_id < $2)) RETURNING customer_id, name <- next, 100000
INSERT INTO customers (customer_id, name) VALUES (2205.5, 'rounded'), ('2207', 'text') RETURNING customer_id
INSERT INTO customers (customer_id, name) VALUES (name, 'no')
INSERT INTO customers (customer_id, name) VALUES (1 / (length('abc') - 3), 'no')
INSERT INTO customers (customer_id, name) VALUES (nullif(1, 1), 'no')
INSERT INTO customers (customer_id, name) VALUES (length('abc') + 2000, 'again') ON CONFLICT (customer_id) DO UPDATE SET name = excluded.name || customers.name RETURNING name
INSERT INTO visits (token, hits) VALUES (upper(md5('a')), 1), (lower('B' || 'C'), 2) RETURNING token
-- Subqueries that are asked first.
UPDATE customers SET name = (SELECT max(status) FROM orders) WHERE customer_id IN (2201, 2401) RETURNING name
UPDATE customers SET name = 'x' WHERE customer_id = 2201 AND EXISTS (SELECT 1 FROM orders)
UPDATE customers SET credit = credit + (SELECT count(*) FROM visits WHERE hits > $1), name = $2 WHERE customer_id > $3 RETURNING credit, name <- 2, sub, 2000
UPDATE customers SET name = 'no' WHERE name IN (SELECT token FROM visits WHERE hits < 0)
UPDATE products SET name = (SELECT name FROM customers WHERE customer_id = 2) WHERE product_id = 2
INSERT INTO customers (customer_id, name) VALUES (2501, (SELECT 'a')), (-2502, (SELECT max(token) FROM visits WHERE token < 'd')), (2503, NULL) RETURNING *
INSERT INTO visits (token, hits) VALUES ((SELECT 'key' || max(customer_id) FROM orders WHERE customer_id < 100), (SELECT count(*) FROM products)) RETURNING token, hits
UPDATE visits SET token = (SELECT 'moved ' || max(token) FROM visits WHERE token LIKE 'key%') WHERE token LIKE 'key%'
DELETE FROM visits WHERE token NOT IN (SELECT token FROM visits WHERE token < 'c') AND token < 'd' RETURNING token
DELETE FROM visits WHERE (token, hits) IN (SELECT token, max(hits) FROM visits WHERE token LIKE 'M%' GROUP BY token)
DELETE FROM visits WHERE hits > ALL (SELECT hits FROM visits WHERE hits < 50) OR hits = ANY (ARRAY(SELECT max(hits) + 1 FROM visits))
WITH most AS (SELECT token FROM visits ORDER BY hits DESC, token LIMIT 3) DELETE FROM visits WHERE token IN (SELECT token FROM most) RETURNING token
UPDATE customers SET name = (SELECT name FROM customers) WHERE customer_id = 2501
DELETE FROM customers WHERE customer_id IN (SELECT 2503 UNION SELECT -2502) RETURNING customer_id
DELETE FROM customers WHERE customer_id IN (SELECT customer_id FROM orders)
DELETE FROM customers WHERE customer_id IN (SELECT nosuch FROM orders)
-- Subqueries that stay on a row's shard.
INSERT INTO customers (customer_id, name) SELECT customer_id + 6000, 'lonely' FROM customers WHERE customer_id BETWEEN 1 AND 20
UPDATE customers c SET name = 'has orders', credit = (SELECT sum(total) FROM orders o WHERE o.customer_id = c.customer_id) WHERE EXISTS (SELECT FROM orders o WHERE o.customer_id = c.customer_id AND o.order_id = 2) RETURNING c.customer_id, credit
UPDATE orders SET priority = 9 WHERE (customer_id, order_id) NOT IN (SELECT customer_id, order_id FROM lines WHERE quantity > 3)
DELETE FROM customers WHERE customer_id > 6000 AND NOT EXISTS (SELECT FROM orders WHERE orders.customer_id = customers.customer_id) RETURNING customer_id
DELETE FROM lines l WHERE price < (SELECT avg(x.price) FROM lines x WHERE x.customer_id = l.customer_id) AND product_id IN (SELECT product_id FROM products WHERE price > 5)
-- Rows that the statement gives.
UPDATE customers c SET name = v.name, credit = v.credit FROM (VALUES (1, 'one', 1.5), (12, 'twelve', NULL), (77777, 'nobody', 3)) AS v (id, name, credit) WHERE v.id = c.customer_id RETURNING c.customer_id, v.name
UPDATE orders o SET priority = v.p FROM unnest($1::int8[], $2::int4[], $3::int2[]) AS v (c, o, p) WHERE o.customer_id = v.c AND o.order_id = v.o <- {2,3,4}, {1,1,1}, {7,8,9}
DELETE FROM visits USING generate_series(1, 3) g WHERE visits.token = 'serie' || g
-- Rows of other shards that a write meets.
MERGE INTO customers c USING products p ON c.customer_id = p.product_id + 0 AND c.customer_id = p.product_id WHEN MATCHED AND p.price > 5 THEN UPDATE SET credit = p.price WHEN NOT MATCHED AND p.price IS NOT NULL THEN INSERT (customer_id, name, credit, born) VALUES (p.product_id, p.name, p.price, p.launched)
MERGE INTO visits v USING (VALUES ('c1', 5), ('merged one', 6), ('merged two', 7), ('merged three', NULL)) s (token, hits) ON s.token = v.token WHEN MATCHED THEN UPDATE SET hits = s.hits WHEN NOT MATCHED THEN INSERT (token, hits) VALUES (s.token, s.hits)
MERGE INTO visits v USING (SELECT $1::text AS token, $2::int4 AS n) s ON v.token = s.token WHEN MATCHED THEN UPDATE SET hits = v.hits + s.n WHEN NOT MATCHED THEN INSERT (token, hits, seconds) VALUES (s.token, s.n, $3) <- c2, 11, 10:30
MERGE INTO visits v USING (SELECT $1::text AS token, $2::int4 AS n) s ON v.token = s.token WHEN MATCHED THEN UPDATE SET hits = v.hits + s.n WHEN NOT MATCHED THEN INSERT (token, hits, seconds) VALUES (s.token, s.n, $3) <- brand new, 11, 10:30
MERGE INTO visits USING (SELECT 'of ' || customer_id AS token, count(*) AS n, max(total) AS most FROM orders GROUP BY customer_id) s ON visits.token = s.token WHEN NOT MATCHED AND most > 100 THEN INSERT VALUES (s.token, s.n, least(most, 1000000)::int4) WHEN NOT MATCHED THEN DO NOTHING
MERGE INTO visits v USING (SELECT name, max(customer_id) AS customer_id FROM customers GROUP BY name) c ON v.token = c.name WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (token, customer_id) VALUES (c.name, c.customer_id)
MERGE INTO visits v USING (SELECT name, customer_id FROM customers WHERE customer_id = 12) c ON v.token = c.name WHEN MATCHED AND v.hits > 0 THEN DO NOTHING WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (token, customer_id) VALUES (c.name, c.customer_id)
MERGE INTO visits v USING (SELECT 'twice' AS token FROM generate_series(1, 2)) c ON v.token = c.token WHEN NOT MATCHED THEN INSERT (token) VALUES (c.token)
MERGE INTO visits v USING (SELECT 'c1' AS token FROM generate_series(1, 2)) c ON v.token = c.token WHEN MATCHED THEN UPDATE SET hits = 3
MERGE INTO visits v USING (SELECT token FROM visits WHERE false) c ON v.token = c.token WHEN NOT MATCHED THEN INSERT (token) VALUES (c.token)
MERGE INTO visits v USING (SELECT nosuch FROM visits) c ON v.token = c.token WHEN NOT MATCHED THEN INSERT (token) VALUES (c.token)
MERGE INTO customers c USING (SELECT NULL::int8 AS id) s ON c.customer_id = s.id WHEN NOT MATCHED THEN INSERT (customer_id) VALUES (s.id)
MERGE INTO products p USING (SELECT 1 AS id) s ON p.product_id = s.id WHEN MATCHED THEN UPDATE SET category = 'merged'
MERGE INTO products p USING (SELECT customer_id, name FROM customers WHERE customer_id BETWEEN 1 AND 12) s ON p.product_id = s.customer_id WHEN MATCHED THEN UPDATE SET category = s.name WHEN NOT MATCHED THEN INSERT (product_id, name) VALUES (s.customer_id + 500, coalesce(s.name, 'nobody'))
DELETE FROM products USING customers c WHERE product_id = c.customer_id + 500 AND c.customer_id BETWEEN 1 AND 12
UPDATE visits v SET hits = c.customer_id FROM customers c WHERE c.customer_id = v.customer_id AND c.customer_id < 20 AND c.name IS NOT NULL RETURNING v.token, v.hits, c.*
UPDATE visits v SET hits = o.total, seconds = NULL FROM orders o JOIN products p ON p.product_id = o.priority WHERE o.customer_id = v.customer_id AND o.order_id = 1 AND p.price > $1 RETURNING v.token, o.status, p.name <- 1
UPDATE customers c SET name = v.token FROM visits v WHERE v.token = 'merged one' AND c.customer_id = 12
UPDATE customers c SET credit = s.n FROM (SELECT customer_id, sum(hits) AS n FROM visits GROUP BY customer_id) s WHERE s.customer_id = c.customer_id
WITH s AS (SELECT customer_id, count(*) AS n FROM visits GROUP BY customer_id) UPDATE customers c SET score = s.n FROM s WHERE s.customer_id = c.customer_id RETURNING c.customer_id, s.n
DELETE FROM visits v USING customers c WHERE v.token = c.name RETURNING v.token, c.name
DELETE FROM visits v USING customers c, orders o WHERE c.customer_id = o.customer_id AND v.customer_id = o.customer_id AND o.order_id = 2
DELETE FROM lines USING visits v LEFT JOIN products p ON p.product_id = v.hits WHERE v.customer_id = lines.customer_id AND p.product_id IS NULL AND v.token < 'c5'
UPDATE visits SET token = token || '!' FROM customers c WHERE c.customer_id = visits.customer_id AND c.customer_id = 5
UPDATE products SET category = v.name FROM (VALUES (1, 'a'), (2, 'b')) v (id, name) WHERE v.id = product_id
UPDATE products SET category = left(c.name, 20) FROM customers c WHERE c.customer_id = product_id
-- Rows whose key changes.
UPDATE visits SET token = upper(token) || '!' WHERE hits > 3 RETURNING token, hits
UPDATE visits v SET token = 'p' || v.token, hits = hits + 1 WHERE v.customer_id = 3 RETURNING v.*
UPDATE visits SET token = $1, hits = DEFAULT WHERE token = $2 RETURNING token, hits, seconds <- moved, c1
UPDATE visits SET token = 'same'
UPDATE visits SET token = NULL WHERE token = 'moved'
UPDATE visits SET (hits, token) = (7, token || $1) WHERE token LIKE 'ser%' <- +
UPDATE visits SET token = 'nowhere' WHERE token = 'nothing'
UPDATE visits SET token = 'c2' WHERE token = 'c2'
UPDATE lines SET customer_id = o.customer_id, line_no = 70 FROM orders o WHERE o.customer_id = lines.customer_id AND o.order_id = lines.order_id AND lines.line_no = 2
DELETE FROM visits WHERE hits IS NULL
DELETE FROM customers WHERE customer_id BETWEEN 2000 AND 4999 OR customer_id = -2402
--- total
-- DDL.
ALTER TABLE customers ADD COLUMN note text DEFAULT 'none'
UPDATE customers SET note = 'noted' WHERE customer_id = 2
ALTER TABLE customers DROP COLUMN email
CREATE INDEX ON customers (name)
CREATE UNIQUE INDEX ON orders (customer_id, placed, order_id)
ALTER TABLE orders ADD CONSTRAINT positive CHECK (total >= 0)
INSERT INTO orders VALUES (100, 9, '2024-05-05', 'new', -10)
ALTER TABLE orders ADD CONSTRAINT positive CHECK (total >= 0)
ALTER TABLE orders ADD CONSTRAINT again FOREIGN KEY (customer_id) REFERENCES customers (customer_id) NOT VALID
ALTER TABLE lines ADD CONSTRAINT again FOREIGN KEY (order_id, customer_id) REFERENCES orders (order_id, customer_id) NOT VALID
CREATE TYPE mood AS ENUM ('sad', 'ok')
DROP TYPE mood
COMMENT ON TABLE orders IS 'what was ordered'
ANALYZE
DROP TABLE nowhere
-- Writes that Weir must refuse, and must not have begun.
--- refused
INSERT INTO nowhere VALUES (1)
INSERT INTO customers (name) VALUES ('no key')
INSERT INTO customers (customer_id, joined) VALUES (401, 'now'), (-402, 'now'), (403, 'now'), (-404, 'now')
INSERT INTO customers (customer_id, name) VALUES (401, 'a'), (-402, 'b'), (403, 'c'), (-404, 'd') RETURNING ctid
INSERT INTO customers (customer_id, credit) VALUES (401, $1), (-402, 2), (403, 3), (-404, $1 || 'x') <- 1
UPDATE customers SET name = 'x' RETURNING xmin
INSERT INTO customers DEFAULT VALUES
INSERT INTO customers (customer_id, name) VALUES (100, 'a') ON CONFLICT (customer_id) DO UPDATE SET customer_id = 555
UPDATE customers SET customer_id = 300 WHERE customer_id = 1
UPDATE customers SET customer_id = customer_id WHERE customer_id = 1
UPDATE customers SET (name, customer_id) = ('x', 3) WHERE customer_id = 1
WITH gone AS (DELETE FROM customers RETURNING *) SELECT * FROM gone WHERE customer_id = 1
WITH gone AS (DELETE FROM customers WHERE customer_id = 1 RETURNING *) SELECT * FROM gone, orders
WITH gone AS (DELETE FROM customers WHERE customer_id = 1 RETURNING name) INSERT INTO products (product_id, name) SELECT 77, name FROM gone
WITH gone AS (DELETE FROM customers WHERE customer_id = 1 RETURNING name) DELETE FROM customers WHERE customer_id IN (2, 3, 4, 11, 12, 13)
MERGE INTO customers c USING products p ON c.customer_id = p.product_id WHEN NOT MATCHED THEN INSERT (customer_id) VALUES (p.product_id + 1)
MERGE INTO customers c USING products p ON c.customer_id < p.product_id WHEN NOT MATCHED THEN INSERT (customer_id) VALUES (p.product_id)
MERGE INTO customers c USING (SELECT 1.5 AS id) s ON c.customer_id = s.id WHEN NOT MATCHED THEN INSERT (customer_id) VALUES (s.id)
INSERT INTO products VALUES (40, 'now', NULL, 1, now())
INSERT INTO products VALUES (40, 'today', NULL, 1, 'today')
INSERT INTO products (product_id, name, launched) VALUES (40, 'today', $1) <- today
UPDATE products SET price = random()
COPY customers FROM '/tmp/customers'
CREATE TABLE unmapped (id int)
CREATE TABLE customers (id int)
ALTER TABLE visits ADD FOREIGN KEY (customer_id) REFERENCES customers
ALTER TABLE orders ADD COLUMN other int8 REFERENCES customers
ALTER TABLE lines ADD FOREIGN KEY (order_id, customer_id) REFERENCES orders (customer_id, order_id)
ALTER TABLE orders ADD FOREIGN KEY (customer_id) REFERENCES customers ON UPDATE CASCADE
ALTER TABLE products ADD COLUMN customer_id int8 REFERENCES customers
ALTER TABLE customers ADD COLUMN number serial
ALTER TABLE customers ADD COLUMN number int GENERATED ALWAYS AS IDENTITY
ALTER TABLE customers ADD COLUMN number int DEFAULT nextval('numbers')
ALTER TABLE customers ADD UNIQUE (name)
CREATE UNIQUE INDEX ON customers (name)
ALTER TABLE customers RENAME COLUMN customer_id TO id
ALTER TABLE customers ALTER COLUMN customer_id TYPE text
ALTER TABLE customers DROP COLUMN customer_id
ALTER TABLE customers RENAME TO people
SELECT nextval('numbers'), * FROM customers WHERE customer_id = 13
-- Keys that nothing can be done with.
--- total
PREPARE TRANSACTION 'x'
INSERT INTO customers (customer_id, name) VALUES (401, 'a'); INSERT INTO customers (customer_id, name) VALUES (402, 'b'); INSERT INTO customers (customer_id, name) VALUES (403, 'c'); INSERT INTO customers (customer_id, name) VALUES (405, 'c'); INSERT INTO customers (customer_id, name) VALUES (5, 'c'); INSERT INTO customers (customer_id, name) VALUES (15, 'c')
INSERT INTO customers (customer_id, name) VALUES (NULL, 'null')
INSERT INTO customers (customer_id, name) VALUES ($1, 'null') <- NULL
