package schemas

import (
	"strings"
	"unicode"
)

// checkEmail checks a trimmed address. What passes is one plausible mailbox,
// nothing that a mail server could read as two, as a name with an address, or
// as a header:
//
//	address = local "@" domain            at most 100 characters
//	local   = atom *("." atom) / quoted
//	atom    = letters, digits, !#$%&'*+-/=?^_`{|}~ and characters beyond ASCII
//	quoted  = '"', then any of these, "@", ".", or a backslash and what follows, then '"'
//	domain  = label *("." label)
//	label   = letters, digits, characters beyond ASCII; hyphens inside
//
// Beyond ASCII neither control, format nor space characters pass. Address
// literals (user@[192.0.2.1]) do not: no shop lives there.
func checkEmail(s string) InvalidReason {
	if reason := checkRunes(s, MaxEmailChars); reason != "" {
		return reason
	}
	at := strings.LastIndexByte(s, '@')
	if at < 0 || !validLocal(s[:at]) || !validDomain(s[at+1:]) {
		return ReasonMalformed
	}
	return ""
}

func validLocal(s string) bool {
	if len(s) > 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return validQuoted(s[1 : len(s)-1])
	}
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" || strings.IndexFunc(atom, func(r rune) bool { return !isAtomText(r) }) >= 0 {
			return false
		}
	}
	return true
}

func validQuoted(s string) bool {
	escaped := false
	for _, r := range s {
		switch {
		case escaped:
			if r != '"' && r != '\\' && r != '@' && r != '.' && !isAtomText(r) {
				return false
			}
			escaped = false
		case r == '\\':
			escaped = true
		case r != '@' && r != '.' && !isAtomText(r):
			return false
		}
	}
	return !escaped
}

func validDomain(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.IndexFunc(label, func(r rune) bool { return !isLabelText(r) }) >= 0 {
			return false
		}
	}
	return true
}

func isAtomText(r rune) bool {
	return isLabelText(r) || strings.ContainsRune("!#$%&'*+/=?^_`{|}~", r)
}

func isLabelText(r rune) bool {
	if r > unicode.MaxASCII {
		return !unicode.In(r, unicode.Cc, unicode.Cf, unicode.Z)
	}
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-'
}
