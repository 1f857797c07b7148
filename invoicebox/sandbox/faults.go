package sandbox

import (
	"strings"
	"time"
)

// A FaultWord is a row of the table of faults by value: a code, or an address,
// that begins with Word behaves as What says.
//
// Where Number is "times", "checks" or "seconds", a number and a dash may follow
// the word ("limited-3-…"); without them Default holds. 0 times is always; once
// the times are over, the value is handled as if it had no word.
type FaultWord struct {
	Word    string // with its dash
	On      string // "codes", "addresses" or "both"
	Number  string // "times", "checks", "seconds" or ""
	Default int    // in the unit of Number
	Effect  bool   // the code is spent, or the e-mail sent, if it otherwise would be
	What    string // one line
}

// Faults returns the table of faults by value, in the order of the README.
func Faults() []FaultWord {
	list := make([]FaultWord, len(faults))
	for i := range faults {
		list[i] = faults[i].FaultWord
	}
	return list
}

type fault struct {
	FaultWord
	shape faultEffect
}

// A faultEffect is how a response differs from the ordinary one.
type faultEffect struct {
	refuse      reason  // the ordinary handling refuses, for this reason
	variant     variant // the ordinary handling answers oddly
	skip        bool    // there is no ordinary handling
	status      int     // 0: that of the ordinary handling
	code        string  // error.code; with it or a status of 400 and above the body is an error document
	fields      []field
	form        bodyForm
	retryAfter  int    // seconds; 0: no header
	location    string // for redirects
	contentType string
	delay       time.Duration // between effect and answer
	drip        time.Duration // the body takes so long
	cut         Abort
	reset       bool // the cut is a TCP reset
}

// A bodyForm says what becomes of the body.
type bodyForm uint8

const (
	asIs       bodyForm = iota // the ordinary body, or an error document where shape has a status for it
	flatError                  // code and message at the top level
	errorInOK                  // an error document whatever the status
	htmlPage                   // a page of a gateway
	brokenJSON                 // the ordinary body with a wound
	noBody                     // nothing
	hugeBody                   // the ordinary body, padded past 64 KiB
	moreFields                 // the ordinary body and members that nobody announced
)

// A variant is an oddity inside the ordinary handling.
type variant uint8

const (
	usual        variant = iota
	noToken              // data without token
	noID                 // data without id
	intID                // id as a number
	uuidID               // id as a string
	pendingToken         // the token is wrong for the first checks
	badToken             // the token is wrong for ever
	nullUser             // the token is accepted, but of nobody
	sameMerchant         // all codes with this word lead to one merchant id
)

const (
	both      = "both"
	codes     = "codes"
	addresses = "addresses"
	times     = "times"
	seconds   = "seconds"
	checks    = "checks"
)

// faults is the one table of faults by value; profiles draw from it too.
var faults = []fault{
	{FaultWord{"rejected-", both, "", 0, false, "refused for good: no such code, or no such address"}, faultEffect{refuse: reasonRejected}},
	{FaultWord{"expired-", codes, "", 0, false, "refused for good: the code is too old"}, faultEffect{refuse: reasonExpired}},
	{FaultWord{"used-", codes, "", 0, false, "refused for good: somebody used the code before"}, faultEffect{refuse: reasonUsed}},
	{FaultWord{"conflict-", both, "", 0, false, "409: the shop is registered, or active, already"}, faultEffect{refuse: reasonConflict}},
	{FaultWord{"no-error-code-", both, "", 0, false, "422 without an error.code"}, faultEffect{skip: true, status: 422}},
	{FaultWord{"partner-field-", both, "", 0, false, "422 validation that complains about partnerId"}, faultEffect{skip: true, status: 422, code: "validation", fields: []field{{"partnerId", codeWrongValue, "the value is wrong"}}}},
	{FaultWord{"not-found-", both, "", 0, false, "404 not_found_http_exception: the route seems to be gone"}, faultEffect{skip: true, status: 404, code: codeNoRoute}},
	{FaultWord{"flat-error-", both, "", 0, false, "422 with code and message at the top level"}, faultEffect{skip: true, status: 422, code: codeRejected, form: flatError}},
	{FaultWord{"unauthorized-", both, times, 0, false, "401"}, faultEffect{skip: true, status: 401, code: codeUnauthorized}},
	{FaultWord{"forbidden-", both, times, 0, false, "403"}, faultEffect{skip: true, status: 403, code: codeForbidden}},
	{FaultWord{"limited-", both, times, 2, false, "429 with Retry-After"}, faultEffect{skip: true, status: 429, code: codeLimited, retryAfter: 1}},
	{FaultWord{"timeout408-", both, times, 1, false, "408: the server waited for the request in vain"}, faultEffect{skip: true, status: 408, code: codeTimeout}},
	{FaultWord{"error500-", both, times, 1, false, "500, nothing happened"}, faultEffect{skip: true, status: 500, code: codeInternal}},
	{FaultWord{"error500-after-", both, times, 1, true, "500, yet it happened"}, faultEffect{status: 500, code: codeInternal}},
	{FaultWord{"error503-", both, times, 2, false, "503 with Retry-After, nothing happened"}, faultEffect{skip: true, status: 503, code: codeDown, retryAfter: 1}},
	{FaultWord{"error503-after-", both, times, 1, true, "503 with Retry-After, yet it happened"}, faultEffect{status: 503, code: codeDown, retryAfter: 1}},
	{FaultWord{"reset-", both, times, 1, false, "connection reset, nothing happened"}, faultEffect{skip: true, cut: AbortBefore, reset: true}},
	{FaultWord{"reset-after-", both, times, 1, true, "connection reset before the response, yet it happened"}, faultEffect{cut: AbortBefore, reset: true}},
	{FaultWord{"lost-answer-", both, times, 1, true, "connection closed before the response, yet it happened"}, faultEffect{cut: AbortBefore}},
	{FaultWord{"cut-headers-", both, times, 1, true, "connection closed after the response's headers"}, faultEffect{cut: AbortHeaders}},
	{FaultWord{"half-body-", both, times, 1, true, "connection closed in the middle of the response's body"}, faultEffect{cut: AbortBody}},
	{FaultWord{"broken-json-", both, times, 1, true, "200 with a body that is not JSON"}, faultEffect{form: brokenJSON}},
	{FaultWord{"empty-body-", both, times, 1, true, "200 without a body"}, faultEffect{form: noBody}},
	{FaultWord{"error200-", both, times, 1, true, "200 with an error document"}, faultEffect{status: 200, code: codeInternal, form: errorInOK}},
	{FaultWord{"html-", both, times, 1, false, "502 with a gateway's HTML page, nothing happened"}, faultEffect{skip: true, status: 502, form: htmlPage}},
	{FaultWord{"html200-", both, times, 1, true, "200 with an HTML page, yet it happened"}, faultEffect{status: 200, form: htmlPage}},
	{FaultWord{"html404-", both, times, 0, false, "404 with an HTML page: a wrong base URL looks so"}, faultEffect{skip: true, status: 404, form: htmlPage}},
	{FaultWord{"redirect-", both, times, 0, false, "307 to a page of the same server"}, faultEffect{skip: true, status: 307, form: htmlPage, location: "/moved"}},
	{FaultWord{"huge-body-", both, times, 1, true, "200 with more than 64 KiB of body"}, faultEffect{form: hugeBody}},
	{FaultWord{"wrong-type-", both, times, 0, true, "the ordinary answer, called text/plain"}, faultEffect{contentType: "text/plain"}},
	{FaultWord{"more-members-", both, times, 0, true, "the ordinary answer with members that nobody announced"}, faultEffect{form: moreFields}},
	{FaultWord{"slow-", both, seconds, 5, true, "the ordinary answer, this late, after the effect"}, faultEffect{}},
	{FaultWord{"drip-", both, seconds, 3, true, "the ordinary answer, its body spread over this time"}, faultEffect{}},
	{FaultWord{"no-token-", codes, times, 0, true, "200 with a merchant id and no token"}, faultEffect{variant: noToken}},
	{FaultWord{"same-merchant-", codes, "", 0, true, "all such codes lead to one merchant id"}, faultEffect{variant: sameMerchant}},
	{FaultWord{"pending-token-", codes, checks, 2, true, "the new token is wrong for the first checks"}, faultEffect{variant: pendingToken}},
	{FaultWord{"bad-token-", codes, "", 0, true, "the new token never works"}, faultEffect{variant: badToken}},
	{FaultWord{"null-user-", codes, "", 0, true, "the check of the new token gives userId null"}, faultEffect{variant: nullUser}},
	{FaultWord{"no-id-", addresses, times, 0, true, "200 without an invitation id"}, faultEffect{variant: noID}},
	{FaultWord{"int-id-", addresses, "", 0, true, "the invitation id is a number"}, faultEffect{variant: intID}},
	{FaultWord{"uuid-id-", addresses, "", 0, true, "the invitation id is a string"}, faultEffect{variant: uuidID}},
}

// maxFaultNumber bounds the number after a word, and so the seconds of slow-.
const maxFaultNumber = 9999

// A namedFault is the fault that a value carries in its name.
type namedFault struct {
	*fault
	number int
}

// faultOf finds the fault that a code or an address names; the longest word wins.
func faultOf(op Operation, value string) namedFault {
	var found namedFault
	for i := range faults {
		f := &faults[i]
		if !strings.HasPrefix(value, f.Word) || (found.fault != nil && len(found.Word) > len(f.Word)) {
			continue
		}
		if f.On == both || (f.On == codes) == (op == Activate) {
			found = namedFault{f, f.Default}
		}
	}
	if found.fault != nil && found.Number != "" {
		found.number = numberAfter(value[len(found.Word):], found.Default)
	}
	return found
}

// numberAfter reads "12-…"; anything else gives the default.
func numberAfter(rest string, otherwise int) int {
	n := 0
	for i := range len(rest) {
		switch c := rest[i]; {
		case c >= '0' && c <= '9' && n <= maxFaultNumber:
			n = n*10 + int(c-'0')
		case c == '-' && i > 0 && n <= maxFaultNumber:
			return n
		default:
			return otherwise
		}
	}
	return otherwise
}

// holds tells whether the fault still concerns a value that it has concerned
// so often.
func (f namedFault) holds(already int) bool {
	return f.Number != times || f.number == 0 || already < f.number
}

// shaped is the fault's shape with the number put in.
func (f namedFault) shaped() faultEffect {
	sh := f.shape
	switch f.Word {
	case "slow-":
		sh.delay = time.Duration(f.number) * time.Second
	case "drip-":
		sh.drip = time.Duration(f.number) * time.Second
	}
	return sh
}

// faultByWord finds a row of the table for a profile.
func faultByWord(word string) *fault {
	for i := range faults {
		if faults[i].Word == word {
			return &faults[i]
		}
	}
	return nil
}
