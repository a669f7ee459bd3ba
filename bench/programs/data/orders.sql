CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, town INTEGER);
CREATE TABLE purchase (id INTEGER PRIMARY KEY, customer INTEGER, day INTEGER, amount INTEGER, note TEXT);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
INSERT INTO customer SELECT i, printf('name %06x', i * 7919 % 65521), i * 31 % 97 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150000)
INSERT INTO purchase SELECT i, i * 7907 % 3000 + 1, i * 13 % 365, i * 104729 % 10007,
	'note ' || (i * 17 % 1009) FROM n;
COMMIT;
CREATE INDEX purchase_customer ON purchase (customer);
CREATE INDEX purchase_day ON purchase (day, amount);
SELECT town, count(*), sum(amount) FROM customer JOIN purchase ON customer.id = customer
	GROUP BY town ORDER BY 3 DESC, 1;
SELECT day, max(amount), avg(amount) FROM purchase GROUP BY day ORDER BY 2 DESC, 1 LIMIT 50;
SELECT name, (SELECT count(*) FROM purchase WHERE customer = customer.id AND amount > 5000) AS large
	FROM customer ORDER BY large DESC, name LIMIT 50;
UPDATE purchase SET amount = amount + day WHERE day % 7 = 3;
DELETE FROM purchase WHERE note LIKE '%77';
SELECT count(*), sum(amount), min(note), max(note) FROM purchase;
SELECT substr(note, 1, 7) AS part, count(DISTINCT customer) FROM purchase GROUP BY part ORDER BY 2 DESC, 1 LIMIT 30;
