package main

import (
	"bytes"
	"strings"
	"testing"

	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

func TestMakeShops(t *testing.T) {
	for _, n := range []int{len(scenarios), 40, 500} {
		shops := makeShops(n)
		if len(shops) != n {
			t.Fatalf("makeShops(%d) returns %d shops", n, len(shops))
		}
		count := map[string]int{}
		ids := map[string]bool{}
		for _, s := range shops {
			count[s.scenario.name]++
			ids[s.id] = true
		}
		if len(ids) != n {
			t.Errorf("makeShops(%d): two shops have the same id", n)
		}
		for _, f := range scenarios {
			if count[f.name] == 0 {
				t.Errorf("makeShops(%d): no shop has the scenario %q", n, f.name)
			}
		}
	}
	count := map[string]int{}
	for _, s := range makeShops(40) {
		count[s.scenario.name]++
	}
	for _, f := range scenarios {
		if count[f.name] != f.share {
			t.Errorf("of 40 shops %d have the scenario %q, want %d", count[f.name], f.name, f.share)
		}
	}
}

// The contract's limits and the sandbox's words hold for everything that the
// shops send.
func TestScenarios_Contract(t *testing.T) {
	words := map[string]bool{"": true}
	for _, w := range sandbox.Faults() {
		words[w.Word] = true
	}
	shops := makeShops(500)
	for _, s := range shops {
		if !words[s.scenario.address] {
			t.Errorf("the sandbox does not know the word %q", s.scenario.address)
		}
		for _, w := range s.scenario.codes {
			if !words[w] {
				t.Errorf("the sandbox does not know the word %q", w)
			}
		}
		for n := range s.codes() {
			if c := s.code(n, shops[0]); len(c) > schemas.MaxCodeChars {
				t.Errorf("code %q is longer than %d characters", c, schemas.MaxCodeChars)
			}
		}
	}
}

func TestTheBoardFollowsAShop(t *testing.T) {
	shops := makeShops(len(scenarios))
	b := newProgress(shops)
	mistyped := shops[1]
	mistyped.step = selected
	event := func(data schemas.Data) schemas.Event {
		return schemas.Event{Type: schemas.TypeActivated, Subject: mistyped.id, Data: data}
	}
	if s, w := b.receive(event(schemas.Invited{Outcome: schemas.OutcomeSent})); s != mistyped || w != enterCode || s.step != invited {
		t.Errorf("after the invitation: %v, step %d", w, mistyped.step)
	}
	mistyped.entered = 1
	failed := schemas.ActivationFailed{Reason: schemas.FailureCodeRejected, Action: schemas.ActionRequestNewCode, Final: true}
	if _, w := b.receive(event(failed)); w != enterCode || mistyped.step == ended {
		t.Error("a refused code does not make the shop enter the next one")
	}
	mistyped.entered = 2
	if _, w := b.receive(event(schemas.Activated{})); w != nothing || !mistyped.good() {
		t.Errorf("activated: %v, %q", w, mistyped.end)
	}
	lost := shops[7]
	lost.step, lost.entered = entered, 1
	if _, w := b.receive(schemas.Event{Subject: lost.id, Data: schemas.ActivationFailed{Reason: schemas.FailureOutcomeLost, Action: schemas.ActionRequestNewCode}}); w != enterCode {
		t.Error("a lost code does not make the shop enter the next one")
	}
	lost.entered = 2
	b.receive(schemas.Event{Subject: lost.id, Data: schemas.Activated{}})
	if lost.end != activated || !lost.good() {
		t.Errorf("lost answer: %q, %q", lost.end, lost.reason)
	}
	lost.reason = schemas.FailureCodeRejected
	if lost.good() {
		t.Error("a lost answer that was called a wrong code counts as a good end")
	}
}

func TestTheBoardTellsEachCallOnce(t *testing.T) {
	b := newProgress(makeShops(len(scenarios)))
	log := []sandbox.Request{
		{RequestID: "1", Operation: sandbox.Invite, Subject: "shop-01@shops.example", Status: 200},
		{RequestID: "2", Operation: sandbox.Activate, Subject: "code-shop-02-1", Pending: true},
	}
	b.watch(log)
	log[1].Pending, log[1].Status = false, 200
	b.watch(log)
	b.watch(log)
	if len(b.lines) != 2 || b.shops[0].calls != 1 || b.shops[1].calls != 1 {
		t.Errorf("two calls made %d lines", len(b.lines))
	}
}

func TestUsage(t *testing.T) {
	for args, want := range map[string]int{
		"--help": 0, "--shops 3": 2, "--shops x": 2, "--profile wild": 2, "--unknown": 2, "extra": 2,
	} {
		var out, errs bytes.Buffer
		if got := run(t.Context(), strings.Fields(args), &out, &errs); got != want {
			t.Errorf("%s: exit status %d, want %d: %s", args, got, want, errs.String())
		}
	}
}
