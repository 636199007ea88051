-- A database as version 2 of the tables and version 1 of the records have it. Never edited.
CREATE TABLE sessioncore_schema (
	component VARCHAR(32) NOT NULL,
	version INTEGER NOT NULL,
	works_with INTEGER,
	PRIMARY KEY (component)
);
CREATE TABLE sessioncore_epochs (
	subject_key_hash BLOB NOT NULL,
	subject_key BLOB NOT NULL,
	user_id VARCHAR(255),
	epoch BLOB NOT NULL,
	version BLOB NOT NULL,
	open_until BIGINT NOT NULL,
	PRIMARY KEY (subject_key_hash),
	CONSTRAINT uq_sessioncore_epochs_epoch UNIQUE (epoch)
);
CREATE INDEX ix_sessioncore_epochs_open_until ON sessioncore_epochs (open_until);
CREATE TABLE sessioncore_sessions (
	epoch BLOB NOT NULL,
	slot BLOB NOT NULL,
	record INTEGER NOT NULL,
	stamp BLOB NOT NULL,
	policy TEXT NOT NULL,
	methods TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	authenticated_at BIGINT,
	changed_at BIGINT NOT NULL,
	last_seen_at BIGINT NOT NULL,
	keep_until BIGINT NOT NULL,
	family_digest BLOB NOT NULL,
	current_digest BLOB NOT NULL,
	pending_digest BLOB,
	pending_salt BLOB,
	previous_digest BLOB,
	device_address TEXT,
	user_agent TEXT,
	PRIMARY KEY (epoch, slot)
);
CREATE INDEX ix_sessioncore_sessions_keep_until ON sessioncore_sessions (keep_until);
CREATE TABLE sessioncore_data (
	epoch BLOB NOT NULL,
	slot BLOB NOT NULL,
	name BLOB NOT NULL,
	value BLOB NOT NULL,
	stamp BLOB NOT NULL,
	PRIMARY KEY (epoch, slot, name)
);
CREATE TABLE sessioncore_credentials (
	user_id_hash BLOB NOT NULL,
	username_hash BLOB NOT NULL,
	user_id VARCHAR(255) NOT NULL,
	username VARCHAR(255) NOT NULL,
	role TEXT,
	password_hash TEXT,
	PRIMARY KEY (user_id_hash),
	CONSTRAINT uq_sessioncore_credentials_username_hash UNIQUE (username_hash)
);
INSERT INTO sessioncore_schema (component, version, works_with)
VALUES ('sessions', 2, 1);
INSERT INTO sessioncore_schema (component, version, works_with)
VALUES ('credentials', 2, 1);
INSERT INTO sessioncore_epochs (subject_key_hash, subject_key, user_id, epoch, version, open_until)
VALUES (X'C450633B20755E4E5419DA764066690BDDD660B7019B16AEDAF09491A0E9614E', X'75616C696365', 'alice', X'65706F63682D6F662D31366279746573', X'7374616D702D2D31', 1795266000123);
INSERT INTO sessioncore_sessions (epoch, slot, record, stamp, policy, methods, created_at, authenticated_at, changed_at, last_seen_at, keep_until, family_digest, current_digest, pending_digest, pending_salt, previous_digest, device_address, user_agent)
VALUES (X'65706F63682D6F662D31366279746573', X'736C6F742D31', 1, X'7374616D702D2D31', 'standard', '["pwd","otp"]', 1795262400123, 1795262400123, 1795262400123, 1795262400123, 1795266000123, X'66616D696C792D2D', X'63757272656E742D6469676573742D6F662D33322D62797465732D2D2D2D2D2D', X'70656E64696E672D6469676573742D6F662D33322D62797465732D2D2D2D2D2D', X'73616C742D6F662D31362D6279746573', X'70726576696F75732D6469676573742D6F662D33322D62797465732D2D2D2D2D', '192.0.2.1', 'Browser marker-that-must-not-leak');
INSERT INTO sessioncore_data (epoch, slot, name, value, stamp)
VALUES (X'65706F63682D6F662D31366279746573', X'736C6F742D31', X'63617272C3A9', X'7B226E223A317D', X'7374616D702D6431');
INSERT INTO sessioncore_credentials (user_id_hash, username_hash, user_id, username, role, password_hash)
VALUES (X'2BD806C97F0E00AF1A1FC3328FA763A9269723C8DB8FAC4F93AF71DB186D6E90', X'7A64ADF28737EA90719CBDF0B1A87A5EFFFF3753B79C91D717F4F4153EAD0498', 'alice', 'alice@example.org', 'admin', '$argon2id$golden');
