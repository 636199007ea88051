-- A database as version 2 of the tables and version 1 of the records have it. Never edited.
CREATE TABLE sessioncore_schema (
	component VARCHAR(32) NOT NULL,
	version INTEGER NOT NULL,
	works_with INTEGER COMMENT 'the oldest version whose code works; none: this one',
	PRIMARY KEY (component)
)ENGINE=InnoDB CHARSET=utf8mb4 COMMENT='Which version of the tables this database has';
CREATE TABLE sessioncore_epochs (
	subject_key_hash BINARY(32) NOT NULL COMMENT 'SHA-256 of subject_key',
	subject_key VARBINARY(256) NOT NULL,
	user_id VARCHAR(255) COMMENT 'for people; nothing is looked up by it',
	epoch BINARY(16) NOT NULL,
	version BINARY(8) NOT NULL COMMENT 'of the roster',
	open_until BIGINT NOT NULL COMMENT 'kept until then even without sessions; milliseconds since 1970 UTC',
	PRIMARY KEY (subject_key_hash),
	CONSTRAINT uq_sessioncore_epochs_epoch UNIQUE (epoch)
)ENGINE=InnoDB CHARSET=utf8mb4 COMMENT='One row for each user who has, or may be about to have, sessions';
CREATE INDEX ix_sessioncore_epochs_open_until ON sessioncore_epochs (open_until);
CREATE TABLE sessioncore_sessions (
	epoch BINARY(16) NOT NULL,
	slot BINARY(6) NOT NULL,
	record INTEGER NOT NULL COMMENT 'version of this row''s meaning',
	stamp BINARY(8) NOT NULL COMMENT 'of the last write',
	policy TEXT NOT NULL,
	methods TEXT NOT NULL COMMENT 'JSON array of RFC 8176 names',
	created_at BIGINT NOT NULL COMMENT 'milliseconds since 1970 UTC',
	authenticated_at BIGINT COMMENT 'milliseconds since 1970 UTC',
	changed_at BIGINT NOT NULL COMMENT 'milliseconds since 1970 UTC',
	last_seen_at BIGINT NOT NULL COMMENT 'milliseconds since 1970 UTC',
	keep_until BIGINT NOT NULL COMMENT 'deleted by purge after that; milliseconds since 1970 UTC',
	family_digest BINARY(8) NOT NULL,
	current_digest BINARY(32) NOT NULL,
	pending_digest BINARY(32),
	pending_salt BINARY(16),
	previous_digest BINARY(32),
	device_address TEXT,
	user_agent TEXT,
	PRIMARY KEY (epoch, slot)
)ENGINE=InnoDB CHARSET=utf8mb4 COMMENT='One row for each session';
CREATE INDEX ix_sessioncore_sessions_keep_until ON sessioncore_sessions (keep_until);
CREATE TABLE sessioncore_data (
	epoch BINARY(16) NOT NULL,
	slot BINARY(6) NOT NULL,
	name VARBINARY(128) NOT NULL COMMENT 'UTF-8',
	value LONGBLOB NOT NULL COMMENT 'JSON, UTF-8',
	stamp BINARY(8) NOT NULL COMMENT 'of the last write',
	PRIMARY KEY (epoch, slot, name)
)ENGINE=InnoDB CHARSET=utf8mb4 COMMENT='What the application keeps in sessions';
CREATE TABLE sessioncore_credentials (
	user_id_hash BINARY(32) NOT NULL COMMENT 'SHA-256 of user_id',
	username_hash BINARY(32) NOT NULL COMMENT 'SHA-256 of username',
	user_id VARCHAR(255) NOT NULL,
	username VARCHAR(255) NOT NULL,
	role TEXT,
	password_hash TEXT COMMENT 'none: cannot sign in by password',
	PRIMARY KEY (user_id_hash),
	CONSTRAINT uq_sessioncore_credentials_username_hash UNIQUE (username_hash)
)ENGINE=InnoDB CHARSET=utf8mb4 COMMENT='Users and their password hashes, for apps without such a table of their own';
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
