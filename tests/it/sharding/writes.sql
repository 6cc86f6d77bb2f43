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
INSERT INTO customers (customer_id, name) VALUES (201, 'a'), (202, 'b'), (203, 'c'), (204, 'd'), (205, 'e'), (206, 'f'), (212, 'g'), (225, 'h'), (5, 'x'), (15, 'y')
INSERT INTO customers (name) VALUES ('no key')
INSERT INTO customers DEFAULT VALUES
INSERT INTO customers (customer_id, name) VALUES ((SELECT 201), 'computed')
INSERT INTO customers (customer_id, name) VALUES (length($1), 'computed') <- abc
INSERT INTO orders SELECT customer_id, 50 FROM customers
INSERT INTO customers (customer_id, name) VALUES (100, 'a') ON CONFLICT (customer_id) DO UPDATE SET customer_id = 555
UPDATE customers SET name = 'all'
UPDATE customers SET name = 'some' WHERE customer_id <= 20
UPDATE customers SET name = 'two' WHERE customer_id IN (1, 2, 11, 12)
UPDATE customers SET customer_id = 300 WHERE customer_id = 1
UPDATE customers SET customer_id = customer_id WHERE customer_id = 1
UPDATE customers SET (name, customer_id) = ('x', 3) WHERE customer_id = 1
UPDATE customers SET name = (SELECT max(status) FROM orders) WHERE customer_id = 1
UPDATE customers SET name = 'x' WHERE customer_id = 1 AND EXISTS (SELECT 1 FROM orders)
UPDATE customers SET name = 'x' WHERE customer_id % 10 = 3
UPDATE customers SET name = 'x' WHERE customer_id = 1 OR name = 'Ada'
DELETE FROM customers
DELETE FROM customers WHERE name = 'Ada'
DELETE FROM orders USING customers WHERE customers.customer_id = 1
WITH gone AS (DELETE FROM customers RETURNING *) SELECT * FROM gone WHERE customer_id = 1
WITH gone AS (DELETE FROM customers WHERE customer_id = 1 RETURNING *) SELECT * FROM gone, orders
WITH gone AS (DELETE FROM customers WHERE customer_id = 1 RETURNING name) INSERT INTO products (product_id, name) SELECT 77, name FROM gone
WITH gone AS (DELETE FROM customers WHERE customer_id = 1 RETURNING name) DELETE FROM customers WHERE customer_id IN (2, 3, 4, 11, 12, 13)
MERGE INTO customers USING products ON customer_id = product_id WHEN MATCHED THEN DELETE
INSERT INTO products VALUES (40, 'now', NULL, 1, now())
INSERT INTO products VALUES (40, 'today', NULL, 1, 'today')
INSERT INTO products (product_id, name, launched) VALUES (40, 'today', $1) <- today
INSERT INTO products SELECT customer_id, name FROM customers WHERE customer_id = 1
UPDATE products SET price = random()
UPDATE products SET name = c.name FROM customers c WHERE c.customer_id = 1
UPDATE products SET name = (SELECT name FROM customers WHERE customer_id = 1)
COPY customers FROM '/tmp/customers'
CREATE TABLE unmapped (id int)
CREATE TABLE customers (id int)
CREATE TEMP TABLE scratch (id int)
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
ALTER TABLE customers ADD COLUMN at timestamptz DEFAULT now()
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
