package invoicebox

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A body is what a response's body says, as far as the outcome needs it.
type body uint8

const (
	// anyBody is no condition.
	anyBody body = iota
	// usableBody has all that a success of the operation must have.
	usableBody
	// nobodyBody is a readable response to a check: the token is nobody's.
	nobodyBody
	// unusableBody is a success without it: cut, too large, not JSON, with an
	// error, or lacking a member.
	unusableBody
	// businessBody has a business code, and its fields are empty or name the
	// shop's own value only.
	businessBody
	// accountBody has a business code that speaks of our account.
	accountBody
	// partnerBody has a business code and names partnerId.
	partnerBody
	// otherBody has a business code and names other members.
	otherBody
	// codelessBody has no business code: HTML, empty, cut, …_http_exception.
	codelessBody
)

var bodyNames = [...]string{
	anyBody:      "any",
	usableBody:   "good",
	nobodyBody:   "a null user id",
	unusableBody: "broken, short, too large, with an error, or lacking a member",
	businessBody: "a business code; fields empty or naming the shop's own value",
	accountBody:  "the code unauthorized or forbidden",
	partnerBody:  "a business code; fields naming partnerId",
	otherBody:    "a business code; fields naming another member",
	codelessBody: "no business code (HTML, empty, cut, …_http_exception)",
}

// exceptionSuffix marks the codes of routes and methods that do not exist.
const exceptionSuffix = "_http_exception"

// readFailure reads the body of a response with a status of 400 or more: what it
// says, and its business code (or other code) as it came.
func readFailure(x Exchange) (body, string) {
	if !x.BodyComplete {
		return codelessBody, ""
	}
	plain, err := x.unpacked()
	if err != nil {
		return codelessBody, ""
	}
	top, err := members(readObject(plain), "error", "code")
	if err != nil {
		return codelessBody, ""
	}
	failure, outerCode := top[0], top[1]
	var code string
	var fields jsontext.Value
	if failure.Kind() == jsontext.KindBeginObject {
		inner, _ := members(failure, "code", "fields")
		code, fields = text(inner[0]), inner[1]
	}
	if code == "" {
		code = text(outerCode)
	}
	switch {
	case code == "", strings.HasSuffix(strings.ToLower(code), exceptionSuffix):
		return codelessBody, code
	case code == "unauthorized", code == "forbidden":
		return accountBody, code
	}
	return readFields(x.Operation, fields), code
}

// readFields tells whom the fields of a failure blame. What cannot be read
// proves nothing against the shop's value.
func readFields(op Operation, raw jsontext.Value) body {
	if trimmed := bytes.TrimSpace(raw); len(trimmed) == 0 || string(trimmed) == "null" {
		return businessBody
	}
	// PHP writes an empty map and an empty list alike.
	var fields []jsontext.Value
	if raw.Kind() == jsontext.KindBeginObject {
		var named map[string]jsontext.Value
		if json.Unmarshal(raw, &named, lenient) == nil && len(named) == 0 {
			return businessBody
		}
		return otherBody
	}
	if json.Unmarshal(raw, &fields, lenient) != nil {
		return otherBody
	}
	out := businessBody
	for _, f := range fields {
		field, err := members(f, "name")
		if err != nil {
			return otherBody
		}
		switch name := text(field[0]); {
		case name == "partnerId":
			return partnerBody
		case name == "" || name != ownField(op):
			out = otherBody
		}
	}
	return out
}

// ownField is the member of the request that holds the shop's own value.
func ownField(op Operation) string {
	switch op {
	case Invite:
		return "identifier"
	case Activate:
		return "activationCode"
	default:
		return ""
	}
}

// text gives a JSON string's text; empty for anything else.
func text(raw jsontext.Value) string {
	if raw.Kind() != jsontext.KindString {
		return ""
	}
	s, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return ""
	}
	return string(s)
}

// label gives a code in the closed shape of a metric label, [a-z][a-z0-9_]{0,63},
// else nothing.
func label(code string) string {
	if code == "" || len(code) > 64 || code[0] < 'a' || code[0] > 'z' {
		return ""
	}
	for i := 1; i < len(code); i++ {
		c := code[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return ""
		}
	}
	return code
}
