package schemas

import (
	"strings"

	"invoicebox-worker/internal/secret"
)

// trimSet is the white space that people and forms leave around a value.
const trimSet = " \t\r\n"

// NormalizeEmail gives the form under which an address is looked up: trimmed
// and in lower case, the local part included. Two addresses that differ in
// case only could be two mailboxes by the letter of the standard; in practice
// they are one, and one must not get two invitations. A Unicode domain stays as
// it is and is not turned into its ASCII form. What is sent is the address as
// given.
func NormalizeEmail(email secret.String) secret.String {
	return secret.New(strings.ToLower(strings.Trim(email.Reveal(), trimSet)))
}

// NormalizeCode gives the form under which a code is looked up and sent: only
// trimmed, since nothing says that case means nothing.
func NormalizeCode(code secret.String) secret.String {
	return secret.New(strings.Trim(code.Reveal(), trimSet))
}
