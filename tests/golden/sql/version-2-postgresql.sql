-- A database as version 2 of the tables and version 1 of the records have it. Never edited.
CREATE TABLE sessioncore_schema (
	component VARCHAR(32) NOT NULL,
	version INTEGER NOT NULL,
	works_with INTEGER,
	PRIMARY KEY (component)
);
COMMENT ON TABLE sessioncore_schema IS 'Which version of the tables this database has';
COMMENT ON COLUMN sessioncore_schema.works_with IS 'the oldest version whose code works; none: this one';
CREATE TABLE sessioncore_epochs (
	subject_key_hash BYTEA NOT NULL,
	subject_key BYTEA NOT NULL,
	user_id VARCHAR(255),
	epoch BYTEA NOT NULL,
	version BYTEA NOT NULL,
	open_until BIGINT NOT NULL,
	PRIMARY KEY (subject_key_hash),
	CONSTRAINT uq_sessioncore_epochs_epoch UNIQUE (epoch)
);
CREATE INDEX ix_sessioncore_epochs_open_until ON sessioncore_epochs (open_until);
COMMENT ON TABLE sessioncore_epochs IS 'One row for each user who has, or may be about to have, sessions';
COMMENT ON COLUMN sessioncore_epochs.subject_key_hash IS 'SHA-256 of subject_key';
COMMENT ON COLUMN sessioncore_epochs.user_id IS 'for people; nothing is looked up by it';
COMMENT ON COLUMN sessioncore_epochs.version IS 'of the roster';
COMMENT ON COLUMN sessioncore_epochs.open_until IS 'kept until then even without sessions; milliseconds since 1970 UTC';
CREATE TABLE sessioncore_sessions (
	epoch BYTEA NOT NULL,
	slot BYTEA NOT NULL,
	record INTEGER NOT NULL,
	stamp BYTEA NOT NULL,
	policy TEXT NOT NULL,
	methods TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	authenticated_at BIGINT,
	changed_at BIGINT NOT NULL,
	last_seen_at BIGINT NOT NULL,
	keep_until BIGINT NOT NULL,
	family_digest BYTEA NOT NULL,
	current_digest BYTEA NOT NULL,
	pending_digest BYTEA,
	pending_salt BYTEA,
	previous_digest BYTEA,
	device_address TEXT,
	user_agent TEXT,
	PRIMARY KEY (epoch, slot)
);
CREATE INDEX ix_sessioncore_sessions_keep_until ON sessioncore_sessions (keep_until);
COMMENT ON TABLE sessioncore_sessions IS 'One row for each session';
COMMENT ON COLUMN sessioncore_sessions.record IS 'version of this row''s meaning';
COMMENT ON COLUMN sessioncore_sessions.stamp IS 'of the last write';
COMMENT ON COLUMN sessioncore_sessions.methods IS 'JSON array of RFC 8176 names';
COMMENT ON COLUMN sessioncore_sessions.created_at IS 'milliseconds since 1970 UTC';
COMMENT ON COLUMN sessioncore_sessions.authenticated_at IS 'milliseconds since 1970 UTC';
COMMENT ON COLUMN sessioncore_sessions.changed_at IS 'milliseconds since 1970 UTC';
COMMENT ON COLUMN sessioncore_sessions.last_seen_at IS 'milliseconds since 1970 UTC';
COMMENT ON COLUMN sessioncore_sessions.keep_until IS 'deleted by purge after that; milliseconds since 1970 UTC';
CREATE TABLE sessioncore_data (
	epoch BYTEA NOT NULL,
	slot BYTEA NOT NULL,
	name BYTEA NOT NULL,
	value BYTEA NOT NULL,
	stamp BYTEA NOT NULL,
	PRIMARY KEY (epoch, slot, name)
);
COMMENT ON TABLE sessioncore_data IS 'What the application keeps in sessions';
COMMENT ON COLUMN sessioncore_data.name IS 'UTF-8';
COMMENT ON COLUMN sessioncore_data.value IS 'JSON, UTF-8';
COMMENT ON COLUMN sessioncore_data.stamp IS 'of the last write';
CREATE TABLE sessioncore_credentials (
	user_id_hash BYTEA NOT NULL,
	username_hash BYTEA NOT NULL,
	user_id VARCHAR(255) NOT NULL,
	username VARCHAR(255) NOT NULL,
	role TEXT,
	password_hash TEXT,
	PRIMARY KEY (user_id_hash),
	CONSTRAINT uq_sessioncore_credentials_username_hash UNIQUE (username_hash)
);
COMMENT ON TABLE sessioncore_credentials IS 'Users and their password hashes, for apps without such a table of their own';
COMMENT ON COLUMN sessioncore_credentials.user_id_hash IS 'SHA-256 of user_id';
COMMENT ON COLUMN sessioncore_credentials.username_hash IS 'SHA-256 of username';
COMMENT ON COLUMN sessioncore_credentials.password_hash IS 'none: cannot sign in by password';
INSERT INTO sessioncore_schema (component, version, works_with)
VALUES ('sessions', 2, 1);
INSERT INTO sessioncore_schema (component, version, works_with)
VALUES ('credentials', 2, 1);
INSERT INTO sessioncore_epochs (subject_key_hash, subject_key, user_id, epoch, version, open_until)
VALUES ('\xC450633B20755E4E5419DA764066690BDDD660B7019B16AEDAF09491A0E9614E', '\x75616C696365', 'alice', '\x65706F63682D6F662D31366279746573', '\x7374616D702D2D31', 1795266000123);
INSERT INTO sessioncore_sessions (epoch, slot, record, stamp, policy, methods, created_at, authenticated_at, changed_at, last_seen_at, keep_until, family_digest, current_digest, pending_digest, pending_salt, previous_digest, device_address, user_agent)
VALUES ('\x65706F63682D6F662D31366279746573', '\x736C6F742D31', 1, '\x7374616D702D2D31', 'standard', '["pwd","otp"]', 1795262400123, 1795262400123, 1795262400123, 1795262400123, 1795266000123, '\x66616D696C792D2D', '\x63757272656E742D6469676573742D6F662D33322D62797465732D2D2D2D2D2D', '\x70656E64696E672D6469676573742D6F662D33322D62797465732D2D2D2D2D2D', '\x73616C742D6F662D31362D6279746573', '\x70726576696F75732D6469676573742D6F662D33322D62797465732D2D2D2D2D', '192.0.2.1', 'Browser marker-that-must-not-leak');
INSERT INTO sessioncore_data (epoch, slot, name, value, stamp)
VALUES ('\x65706F63682D6F662D31366279746573', '\x736C6F742D31', '\x63617272C3A9', '\x7B226E223A317D', '\x7374616D702D6431');
INSERT INTO sessioncore_credentials (user_id_hash, username_hash, user_id, username, role, password_hash)
VALUES ('\x2BD806C97F0E00AF1A1FC3328FA763A9269723C8DB8FAC4F93AF71DB186D6E90', '\x7A64ADF28737EA90719CBDF0B1A87A5EFFFF3753B79C91D717F4F4153EAD0498', 'alice', 'alice@example.org', 'admin', '$argon2id$golden');
