//! Names of error codes (PostgreSQL documentation, appendix A, "PostgreSQL Error Codes").

use std::borrow::Cow;

/// Conditions that a server answers to a start-up with, or reports without being asked.
const CONDITIONS: [(&[u8; 5], &str); 30] = [
    (b"08000", "connection_exception"),
    (b"08001", "sqlclient_unable_to_establish_sqlconnection"),
    (b"08003", "connection_does_not_exist"),
    (
        b"08004",
        "sqlserver_rejected_establishment_of_sqlconnection",
    ),
    (b"08006", "connection_failure"),
    (b"08P01", "protocol_violation"),
    (b"0A000", "feature_not_supported"),
    (b"22023", "invalid_parameter_value"),
    (b"25P03", "idle_in_transaction_session_timeout"),
    (b"25P04", "transaction_timeout"),
    (b"28000", "invalid_authorization_specification"),
    (b"28P01", "invalid_password"),
    (b"3D000", "invalid_catalog_name"),
    (b"42501", "insufficient_privilege"),
    (b"42704", "undefined_object"),
    (b"53000", "insufficient_resources"),
    (b"53100", "disk_full"),
    (b"53200", "out_of_memory"),
    (b"53300", "too_many_connections"),
    (b"53400", "configuration_limit_exceeded"),
    (b"55000", "object_not_in_prerequisite_state"),
    (b"57000", "operator_intervention"),
    (b"57014", "query_canceled"),
    (b"57P01", "admin_shutdown"),
    (b"57P02", "crash_shutdown"),
    (b"57P03", "cannot_connect_now"),
    (b"57P04", "database_dropped"),
    (b"57P05", "idle_session_timeout"),
    (b"58P01", "undefined_file"),
    (b"XX000", "internal_error"),
];

/// Classes: the first two characters of a code.
const CLASSES: [(&[u8; 2], &str); 45] = [
    (b"00", "successful_completion"),
    (b"01", "warning"),
    (b"02", "no_data"),
    (b"03", "sql_statement_not_yet_complete"),
    (b"08", "connection_exception"),
    (b"09", "triggered_action_exception"),
    (b"0A", "feature_not_supported"),
    (b"0B", "invalid_transaction_initiation"),
    (b"0F", "locator_exception"),
    (b"0L", "invalid_grantor"),
    (b"0P", "invalid_role_specification"),
    (b"0Z", "diagnostics_exception"),
    (b"10", "xquery_error"),
    (b"20", "case_not_found"),
    (b"21", "cardinality_violation"),
    (b"22", "data_exception"),
    (b"23", "integrity_constraint_violation"),
    (b"24", "invalid_cursor_state"),
    (b"25", "invalid_transaction_state"),
    (b"26", "invalid_sql_statement_name"),
    (b"27", "triggered_data_change_violation"),
    (b"28", "invalid_authorization_specification"),
    (b"2B", "dependent_privilege_descriptors_still_exist"),
    (b"2D", "invalid_transaction_termination"),
    (b"2F", "sql_routine_exception"),
    (b"34", "invalid_cursor_name"),
    (b"38", "external_routine_exception"),
    (b"39", "external_routine_invocation_exception"),
    (b"3B", "savepoint_exception"),
    (b"3D", "invalid_catalog_name"),
    (b"3F", "invalid_schema_name"),
    (b"40", "transaction_rollback"),
    (b"42", "syntax_error_or_access_rule_violation"),
    (b"44", "with_check_option_violation"),
    (b"53", "insufficient_resources"),
    (b"54", "program_limit_exceeded"),
    (b"55", "object_not_in_prerequisite_state"),
    (b"57", "operator_intervention"),
    (b"58", "system_error"),
    (b"72", "snapshot_failure"),
    (b"F0", "config_file_error"),
    (b"HV", "fdw_error"),
    (b"P0", "plpgsql_error"),
    (b"XX", "internal_error"),
    (b"??", "unknown"),
];

/// The condition's name, or the code itself where it is none that ends or refuses connections.
pub fn condition(code: &[u8; 5]) -> Cow<'_, str> {
    CONDITIONS
        .iter()
        .find(|(known, _)| *known == code)
        .map_or_else(
            || String::from_utf8_lossy(code),
            |(_, name)| Cow::Borrowed(*name),
        )
}

/// The name of the code's class; `other` for a class that PostgreSQL does not have.
pub fn class(code: &[u8; 5]) -> &'static str {
    CLASSES
        .iter()
        .find(|(known, _)| code.starts_with(*known))
        .map_or(crate::routes::OTHER, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_of_appendix_a() {
        assert_eq!(condition(b"53300"), "too_many_connections");
        assert_eq!(condition(b"28P01"), "invalid_password");
        assert_eq!(condition(b"XY123"), "XY123");
        assert_eq!(class(b"23505"), "integrity_constraint_violation");
        assert_eq!(class(b"ZZ999"), "other");
    }

    #[test]
    fn no_code_is_there_twice_and_each_has_a_class() {
        for (index, (code, _)) in CONDITIONS.iter().enumerate() {
            assert!(
                CONDITIONS
                    .iter()
                    .skip(index + 1)
                    .all(|(other, _)| other != code)
            );
            assert_ne!(class(code), "other");
        }
        for (index, (code, _)) in CLASSES.iter().enumerate() {
            assert!(
                CLASSES
                    .iter()
                    .skip(index + 1)
                    .all(|(other, _)| other != code)
            );
        }
    }
}
