package schemas

import "strings"

// traceContext passes a W3C trace context through when it is well formed.
// Tracing must not stop an event, and a header that anybody fills must not
// carry anything else into ours: what is malformed is dropped.
func traceContext(parent, state []byte) (string, string) {
	if !validTraceParent(string(parent)) {
		return "", ""
	}
	if !validTraceState(string(state)) {
		return string(parent), ""
	}
	return string(parent), string(state)
}

// validTraceParent takes version-traceid-parentid-flags in lower-case hex.
func validTraceParent(s string) bool {
	const zeros = "00000000000000000000000000000000"
	if len(s) != 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	version, trace, parent, flags := s[:2], s[3:35], s[36:52], s[53:]
	return isHex(version) && isHex(trace) && isHex(parent) && isHex(flags) &&
		version != "ff" && trace != zeros && parent != zeros[:16]
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
			return false
		}
	}
	return true
}

// validTraceState takes a list of at most 32 key=value pairs in printable ASCII.
func validTraceState(s string) bool {
	if s == "" || len(s) > MaxTraceStateBytes {
		return false
	}
	pairs := strings.Split(s, ",")
	if len(pairs) > 32 {
		return false
	}
	for _, pair := range pairs {
		key, value, found := strings.Cut(strings.Trim(pair, " \t"), "=")
		if !found || key == "" || value == "" || !validTraceKey(key) {
			return false
		}
		for i := range len(value) {
			if c := value[i]; c < 0x20 || c > 0x7e || c == '=' {
				return false
			}
		}
	}
	return true
}

func validTraceKey(key string) bool {
	for i := range len(key) {
		c := key[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("_-*/@", c) >= 0) {
			return false
		}
	}
	return true
}
