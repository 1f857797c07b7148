package main

import (
	"fmt"

	"invoicebox-worker/schemas"
)

// An ending is where a shop's scenario ends.
type ending string

// The endings.
const (
	open      ending = ""          // still on its way
	activated ending = "activated" // it can take payments
	refused   ending = "refused"   // Invoicebox said no, for good
	attention ending = "attention" // a person has to look
	ignored   ending = "ignored"   // none of our business
)

// A scenario is what happens to a shop. The words in front of addresses and codes
// make the sandbox misbehave; see its table of faults.
type scenario struct {
	name        string
	description string
	share       int      // of 40 shops
	address     string   // word before the address
	codes       []string // words before the codes that the shop enters, one after the other
	twice       bool     // the platform sends every event twice
	other       bool     // the shop chose another provider
	borrows     bool     // it enters the code of another shop first
	end         ending
	reason      schemas.FailureReason // that the last failure event must name
}

// scenarios are in the order in which their first shops appear.
var scenarios = []scenario{
	{name: "smooth", description: "invited, code entered, activated", share: 20, codes: []string{""}, end: activated},
	{name: "mistyped", description: "enters a wrong code, asks for a new one, is activated", share: 4, codes: []string{"rejected-", ""}, end: activated},
	{name: "double click", description: "every event comes twice: one e-mail, one activation", share: 4, codes: []string{""}, twice: true, end: activated},
	{name: "busy", description: "Invoicebox answers 503 twice: wait, try again", share: 2, codes: []string{"error503-"}, end: activated},
	{name: "slow token", description: "its token works late: announced when it does", share: 1, codes: []string{"pending-token-"}, end: activated},
	{name: "wrong address", description: "the e-mail address is refused", share: 2, address: "rejected-", end: refused, reason: schemas.FailureAddressRejected},
	{name: "borrowed code", description: "another shop's code is not sent; its own works", share: 1, codes: []string{""}, borrows: true, end: activated},
	{name: "lost answer", description: "one probe: lost, never \"wrong code\"; a new code works", share: 2, codes: []string{"lost-answer-", ""}, end: activated, reason: schemas.FailureOutcomeLost},
	{name: "garbled answer", description: "200 with broken JSON: the answer is kept for a person", share: 1, codes: []string{"broken-json-"}, end: attention, reason: schemas.FailureAnswerUnreadable},
	{name: "other provider", description: "chose another provider: ignored and counted", share: 3, other: true, end: ignored},
}

// A shop is one shop of the platform. Its fields after scenario change under the lock of progress.
type shop struct {
	id       string
	scenario scenario

	step    step
	end     ending
	reason  schemas.FailureReason
	entered int // codes so far
	ref     string
	events  int  // results about it
	calls   int  // requests that the sandbox saw
	waits   bool // its last call is to be made again
	unlucky bool // the sandbox misbehaved beyond the scenario
	cut     bool // a call of it was under way when the worker was killed
	extra   int  // codes that it needs for that
}

// A step is a column of the live view.
type step int

// The steps.
const (
	waiting step = iota
	selected
	invited
	entered
	ended
)

// makeShops makes n shops with scenarios, in the proportions of the table and with at
// least one of each as far as n goes.
func makeShops(n int) []*shop {
	total := 0
	for _, f := range scenarios {
		total += f.share
	}
	shops := make([]*shop, 0, n)
	add := func(f scenario) {
		shops = append(shops, &shop{id: fmt.Sprintf("shop-%02d", len(shops)+1), scenario: f})
	}
	// The first smooth one lends its code to the borrowers.
	for i := 0; i < len(scenarios) && len(shops) < n; i++ {
		add(scenarios[i])
	}
	for given := make([]int, len(scenarios)); len(shops) < n; {
		// Whoever is furthest behind its share comes next.
		next, lag := 0, -1.0
		for i, f := range scenarios {
			if l := float64(f.share)*float64(n)/float64(total) - float64(given[i]+1); l > lag {
				next, lag = i, l
			}
		}
		given[next]++
		add(scenarios[next])
	}
	return shops
}

func (s *shop) address() string { return s.scenario.address + s.id + "@shops.example" }

// code is the n-th code that the shop enters, from 0.
func (s *shop) code(n int, lender *shop) string {
	if s.scenario.borrows {
		if n == 0 {
			return lender.code(0, nil)
		}
		n--
	}
	word := s.scenario.codes[min(n, len(s.scenario.codes)-1)]
	return fmt.Sprintf("%s%s-%d", word, s.id, n+1)
}

// codes is how many codes the shop has to enter.
func (s *shop) codes() int {
	n := len(s.scenario.codes) + s.extra
	if s.scenario.borrows {
		n++
	}
	return n
}

// now says where the shop stands, for the line that describes it.
func (s *shop) now() string {
	switch {
	case s.end == activated:
		return "activated"
	case s.end == refused:
		return "refused: " + string(s.reason)
	case s.end == attention:
		return "waits for a person: " + string(s.reason)
	case s.end == ignored:
		return "ignored"
	case s.step == entered && s.cut && s.reason == "":
		return "its answer died with the worker: silence first, then one question"
	case s.step == entered && s.entered == 1 && s.scenario.name == "lost answer" && s.reason == "":
		return "no answer came: silence first, then one question"
	case s.waits:
		return "waits to be called again"
	case s.step == entered && s.entered > 1:
		return "entered another code"
	case s.step == entered:
		return "entered its code"
	case s.step == invited:
		return "invited"
	}
	return "chose Invoicebox"
}

// good reports whether the shop's end is the one that its scenario asks for. Where
// the sandbox misbehaved by itself (profiles realistic and hostile), a person's
// attention is a good end too.
func (s *shop) good() bool {
	if s.unlucky && s.end == attention {
		return true
	}
	return s.end == s.scenario.end && (s.scenario.reason == "" || s.reason == s.scenario.reason)
}
