CREATE FUNCTION atp_internal.guard_table(r regclass) RETURNS void LANGUAGE sql AS '';
