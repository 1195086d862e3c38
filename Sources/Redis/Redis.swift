internal import CHiredis

/// The client library whose reply reader this target uses, as major.minor.patch.
package let hiredisVersion = "\(HIREDIS_MAJOR).\(HIREDIS_MINOR).\(HIREDIS_PATCH)"
