-- The SQLSTATEs of class TP, from src/errors.txt (the rows follow this part in the install script).
CREATE TABLE atp_internal.error_code (
	sqlstate text CONSTRAINT error_code_pk PRIMARY KEY,
	condition_name text NOT NULL CONSTRAINT error_code_condition_name_unique UNIQUE,
	meaning text NOT NULL
);
COMMENT ON TABLE atp_internal.error_code IS 'SQLSTATEs of class TP; the install script fills it, nothing changes it.';
COMMENT ON COLUMN atp_internal.error_code.sqlstate IS 'Five characters, class TP.';
COMMENT ON COLUMN atp_internal.error_code.condition_name IS 'Name of the condition, as in src/errors.txt.';
COMMENT ON COLUMN atp_internal.error_code.meaning IS 'What happened and what the caller can do.';

CREATE VIEW atp.error_code AS
	SELECT sqlstate, condition_name, meaning FROM atp_internal.error_code;
COMMENT ON VIEW atp.error_code IS 'List every SQLSTATE that atp raises of its own.';
COMMENT ON COLUMN atp.error_code.sqlstate IS 'Five characters, class TP: TP1 stream, TP2 record and schema, TP3 delivery, TP4 compliance, TP5 evidence and keys.';
COMMENT ON COLUMN atp.error_code.condition_name IS 'Name of the condition.';
COMMENT ON COLUMN atp.error_code.meaning IS 'What happened and what the caller can do.';
GRANT SELECT ON atp.error_code TO PUBLIC;
