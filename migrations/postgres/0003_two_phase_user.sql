-- See migrations/sqlite/0004_two_phase_user.sql.

ALTER TABLE two_phase ADD COLUMN username TEXT NOT NULL DEFAULT '';
