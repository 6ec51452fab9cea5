//! Log lines on stderr. Dependencies are heard only from INFO up: below it some print headers with credentials.
