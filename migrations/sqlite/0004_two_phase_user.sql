-- The user who prepares a transaction: besides superusers, nobody else may finish it. Empty: not known.

ALTER TABLE two_phase ADD COLUMN username TEXT NOT NULL DEFAULT '';
