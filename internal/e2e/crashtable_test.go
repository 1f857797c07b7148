package e2e

import (
	"slices"
	"strings"
)

// ends are the reasons with which an operation may end.
type ends []string

func end(reasons ...string) ends { return reasons }

// A story is what comes of one kind of operation that meets a class of answer.
type story struct {
	calm     ends // nothing else goes wrong
	requests int  // that takes so many requests
	// first: the operation was made unknown before anything was sent, so that
	// the class's first answer meets the request that is made in doubt.
	first ends
	// second: the class's first answer was lost on its way.
	second ends
}

// A class is a row of the table of answers: what the sandbox does to codes and
// addresses of its word, and where that leads.
type class struct {
	word    string // of the sandbox's faults, with its dash
	plant   int    // a status to plant once, for what no word does
	receipt bool   // the answer's status is 2xx: an activation has a receipt
	shops   int    // of each kind; 0 is one
	late    bool   // no answer within the deadline: it is held before it takes effect
	long    bool   // takes minutes; only in the full matrix

	activate, invite *story
}

func (c class) name() string {
	if c.word == "" {
		return "good"
	}
	return strings.TrimSuffix(c.word, "-")
}

// What follows an unknown outcome, and what a person has to look at.
var (
	activated = end("activated")
	lost      = end("outcome_lost")
	unknown   = end("outcome_unknown")
	sent      = end("sent")
	rejected  = end("request_rejected")
)

// classes is every class of answer that the API is known, or feared, to give.
var classes = []class{
	{word: "", receipt: true,
		activate: &story{activated, 1, activated, lost}, invite: &story{sent, 1, sent, sent}},
	{word: "pending-token-1-", receipt: true, activate: &story{activated, 1, activated, lost}},
	{word: "bad-token-", receipt: true, long: true, activate: &story{end("credentials_invalid"), 1, end("credentials_invalid"), lost}},
	{word: "null-user-", receipt: true, long: true, activate: &story{end("credentials_invalid"), 1, end("credentials_invalid"), lost}},
	{word: "same-merchant-", receipt: true, shops: 2,
		activate: &story{end("activated", "merchant_conflict"), 1, end("activated", "merchant_conflict"), lost}},

	// 2xx, broken.
	{word: "no-token-", receipt: true, activate: unreadable, invite: nil},
	{word: "no-id-", invite: &story{sent, 1, sent, sent}},
	{word: "cut-headers-", receipt: true, activate: unreadable, invite: sentOnce},
	{word: "half-body-", receipt: true, activate: unreadable, invite: sentOnce},
	{word: "broken-json-", receipt: true, activate: unreadable, invite: sentOnce},
	{word: "empty-body-", receipt: true, activate: unreadable, invite: sentOnce},
	{word: "error200-", receipt: true, activate: unreadable, invite: sentOnce},
	{word: "html200-", receipt: true, activate: unreadable, invite: sentOnce},
	{word: "huge-body-", receipt: true, activate: unreadable, invite: sentOnce},

	// Refused.
	{word: "rejected-", activate: refusedCode, invite: refusedAddress},
	{word: "flat-error-", activate: refusedCode, invite: refusedAddress},
	{word: "conflict-", activate: refusedCode, invite: &story{end("already_invited"), 1, end("already_invited"), end("already_invited")}},

	// Not executed.
	{word: "early-", plant: 425, activate: again, invite: sentAgain},
	{word: "limited-1-", activate: again, invite: sentAgain},
	{word: "unauthorized-1-", activate: again, invite: sentAgain},

	// Our fault.
	{word: "forbidden-", activate: ourFault, invite: ourFault},
	{word: "html404-", activate: ourFault, invite: ourFault},
	{word: "not-found-", activate: ourFault, invite: ourFault},
	{word: "partner-field-", activate: ourFault, invite: ourFault},
	{word: "no-error-code-", activate: ourFault, invite: ourFault},
	{word: "redirect-", activate: ourFault, invite: ourFault},

	// Probably not executed: it uses no probe up.
	{word: "timeout408-1-", activate: again, invite: sentAgain},
	{word: "error503-1-", activate: again, invite: sentAgain},
	{word: "error503-after-", activate: &story{lost, 2, lost, lost}, invite: sentAgain},

	// Nobody knows.
	{word: "error500-1-", activate: harmless, invite: sentAfterDoubt},
	{word: "error500-after-", activate: spent, invite: sentAfterDoubt},
	{word: "html-", activate: harmless, invite: sentAfterDoubt},
	{word: "reset-", activate: harmless, invite: sentAfterDoubt},
	{word: "reset-after-", activate: spent, invite: sentAfterDoubt},
	{word: "lost-answer-", activate: spent, invite: sentAfterDoubt},
	{word: "slow-9-", late: true, activate: &story{unknown, 2, unknown, unknown}, invite: &story{unknown, 2, unknown, unknown}},
}

// Stories that several classes share.
var (
	unreadable     = &story{end("answer_unreadable"), 1, end("answer_unreadable"), lost}
	refusedCode    = &story{end("code_rejected"), 1, lost, lost}
	ourFault       = &story{rejected, 1, rejected, rejected}
	again          = &story{activated, 2, activated, activated}
	harmless       = &story{activated, 2, unknown, activated} // the unknown request had no effect
	spent          = &story{lost, 2, unknown, lost}           // it had
	sentOnce       = &story{sent, 1, sent, sent}
	sentAgain      = &story{sent, 2, sent, sent}
	sentAfterDoubt = &story{sent, 2, unknown, sent}
	refusedAddress = &story{end("address_rejected"), 1, end("address_rejected"), end("address_rejected")}
)

// held is an activation's story where no probe is made.
func (s story) held(c class) story {
	s.first, s.second = unknown, unknown
	// The want of an answer that proves something is all that a probe is for.
	if c.late || strings.HasPrefix(c.word, "error500-") || c.word == "html-" || strings.HasPrefix(c.word, "reset-") || c.word == "lost-answer-" {
		s.calm, s.requests = unknown, 1
	}
	return s
}

// A subject is an operation of one shop that a run of the matrix watches.
type subject struct {
	class
	kind  string // invite or activate
	shop  string
	text  string // code or address
	story story
}

func (s subject) key() string { return s.kind + "/" + s.shop }

// account is the partner account of the subject's class and kind: what one
// class does to a circuit breaker concerns no other.
func (s subject) account() string { return s.kind + "-" + s.name() }

// subjects are the shops of a run: one, or as many as the class says, for each
// kind and class.
func subjects(full bool, setting string) []subject {
	var list []subject
	for _, c := range classes {
		if c.long && !full {
			continue
		}
		word := c.word
		if word == "" {
			word = "plain-"
		}
		for i := range max(1, c.shops) {
			n := string(rune('0' + i))
			if c.activate != nil {
				told := *c.activate
				if setting == "hold" {
					told = told.held(c)
				}
				list = append(list, subject{c, "activate", "activate-" + c.name() + "-" + n, word + "c" + n, told})
			}
			if c.invite != nil {
				list = append(list, subject{c, "invite", "invite-" + c.name() + "-" + n, word + "i" + n + "@shops.example", *c.invite})
			}
		}
	}
	return list
}

// A crashPoint is a place where a worker is killed or frozen.
type crashPoint struct {
	name  string
	meets func(subject) bool // who comes by there, if nothing else goes wrong
	// leads are the ends of one that was killed there.
	leads func(subject) ends
	clean bool // nothing is in doubt there: as if nothing had happened
	// stale: a worker that was frozen there can come back after its lease.
	stale bool
}

func everybody(subject) bool       { return true }
func withReceipt(s subject) bool   { return s.kind == "activate" && s.receipt }
func notVerified(s subject) bool   { return s.kind == "activate" && slices.Contains(unverified, s.word) }
func ended(s subject) bool         { return !s.long }
func calmly(s subject) ends        { return s.story.calm }
func unsentInDoubt(s subject) ends { return s.story.first }
func answerIsLost(s subject) ends  { return s.story.second }
func tellsAtOnce(s subject) bool {
	return s.story.requests == 1 && !s.long && !s.late && s.name() != "same-merchant"
}

// sometimeElse is where one may end that was anywhere when it happened: also in
// the middle of a call that has nothing to do with the point.
func sometimeElse(s subject) ends {
	may := slices.Concat(s.story.calm, s.story.first, s.story.second, unknown)
	if s.kind == "activate" { // the answer to a later call than the first was lost
		may = append(may, lost...)
	}
	if s.late { // its answer came while its worker was frozen
		may = append(may, "activated", "sent")
	}
	return may
}

// mayEnd is where one may end when its worker was killed at the point.
func (p crashPoint) mayEnd(s subject) ends {
	if !p.meets(s) {
		return sometimeElse(s)
	}
	return p.leads(s)
}

var unverified = []string{"pending-token-1-", "bad-token-", "null-user-"}

// crashPoints are those of the design, each as near as it can be come to.
var crashPoints = []crashPoint{
	{"intake", everybody, calmly, true, false},
	{"inbox", everybody, calmly, true, false},
	{"claimed", everybody, calmly, true, true},
	{"sending", everybody, unsentInDoubt, false, true},
	{"sent", everybody, answerIsLost, false, false}, // held by whoever answers
	{"answered", everybody, answerIsLost, false, true},
	{"received", withReceipt, calmly, true, true},
	{"storing", withReceipt, calmly, true, true},
	{"stored", notVerified, calmly, true, true},
	{"completed", ended, calmly, true, false},
	{"published", tellsAtOnce, calmly, true, false},
}
