package wire

// Recoverable reports whether the original framework goes on where it was
// after this HTTP status, or status code of a job; after any other it starts
// over with a full import.
func Recoverable(status int) bool {
	switch status {
	case 302, 400, 401, 403, 408, 500, 503, 504:
		return true
	}
	return false
}
