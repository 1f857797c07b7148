package schemas

import (
	"unicode"
	"unicode/utf8"
)

// checkText checks a text of at least one and at most maxBytes bytes of UTF-8
// without control characters; "" means that nothing is wrong with it.
func checkText(s string, maxBytes int) InvalidReason {
	switch {
	case s == "":
		return ReasonEmpty
	case len(s) > maxBytes:
		return ReasonTooLong
	case !utf8.ValidString(s):
		return ReasonInvalidUTF8
	case hasControl(s):
		return ReasonControlCharacter
	}
	return ""
}

// hasControl finds C0, DEL and C1.
func hasControl(s string) bool {
	for _, r := range s {
		if unicode.IsControl(r) {
			return true
		}
	}
	return false
}

// checkRunes is checkText with the limit in characters.
func checkRunes(s string, maxChars int) InvalidReason {
	if fault := checkText(s, maxChars*utf8.UTFMax); fault != "" {
		return fault
	}
	if utf8.RuneCountInString(s) > maxChars {
		return ReasonTooLong
	}
	return ""
}
