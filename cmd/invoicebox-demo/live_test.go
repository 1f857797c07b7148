package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"charm.land/lipgloss/v2"

	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// busyProgress is the progress in the middle of a large demo, with the longest texts.
func busyProgress(shops int) *progress {
	b := newProgress(makeShops(shops))
	for i, s := range b.shops {
		s.step = step(i % 5)
		if s.step == ended {
			s.end = s.scenario.end
		}
		s.waits = i%7 == 0
	}
	for range 20 {
		b.add(fromPlatform, "shop-08", "chose another-provider", plain)
		b.add(calls, "shop-08", "activate → no answer", bad)
		b.add(published, "shop-07", "activation_failed: code_of_other_shop, request_new_code", bad)
		b.add(published, "shop-09", "activation_failed: credentials_invalid, contact_support", bad)
	}
	b.add(fromWorker, "", "the worker is KILLED with 3 calls under way", bad)
	b.deadLetters = 1
	b.feature(b.shops[7])
	return b
}

// escapes are the colours.
var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

func TestScreen(t *testing.T) {
	requests := func() []sandbox.Request {
		return []sandbox.Request{{Time: time.Now(), Operation: sandbox.Invite, Status: 200}}
	}
	for _, size := range [][2]int{{80, 24}, {120, 36}, {100, 30}, {112, 24}, {200, 60}, {60, 20}} {
		t.Run(fmt.Sprintf("%dx%d", size[0], size[1]), func(t *testing.T) {
			for _, shops := range []int{40, 500} {
				m := &live{progress: busyProgress(shops), requests: requests, flags: flags{Profile: "hostile", Seed: 999_999}, width: size[0], height: size[1]}
				screen := escapes.ReplaceAllString(m.screen(), "")
				lines := strings.Split(screen, "\n")
				if len(lines) > size[1] {
					t.Errorf("%d lines", len(lines))
				}
				for _, l := range lines {
					if w := lipgloss.Width(l); w > size[0] {
						t.Errorf("%d wide: %q", w, l)
					}
				}
				if size[0] < 80 {
					continue
				}
				for _, want := range []string{
					"activate → no answer", "activation_failed: code_of_other_shop", "activation_failed: credentials_invalid", "KILLED with 3 calls under way",
					"shop-08 · lost answer", "a new code works", "now: ", "20 calls in 4s", "1 dead letter ", "~ waits", "activated", "not ours",
				} {
					if !strings.Contains(screen, want) {
						t.Errorf("there is no %q:\n%s", want, screen)
					}
				}
			}
		})
	}
}

func TestPrintResult(t *testing.T) {
	for _, width := range []int{80, 120} {
		b := busyProgress(40)
		b.killedAt = time.Now()
		b.shops[0].extra, b.shops[1].unlucky, b.shops[1].end = 1, true, attention
		var out bytes.Buffer
		b.printTable(&out, width, flags{Profile: "hostile", Seed: 999_999}, time.Minute)
		address := b.shops[2].address()
		held := b.printGuarantees(&out, sandbox.Effects{
			Requests:    200,
			Activations: []sandbox.ActivationEffects{{Effects: 1}},
			Invitations: []sandbox.InvitationEffects{{Identifier: address, Effects: 2}, {Identifier: "other@shops.example", Effects: 2}},
		}, []sandbox.Request{{Subject: address, Status: 0}, {Subject: address, Status: 200}, {Subject: "other@shops.example", Status: 200}}, 20)
		if held {
			t.Error("an e-mail that was sent twice without a cause is accepted")
		}
		text := out.String()
		for line := range strings.SplitSeq(text, "\n") {
			if w := lipgloss.Width(line); w > width && !strings.HasPrefix(line, "not as expected") {
				t.Errorf("at %d a line is %d wide: %s", width, w, line)
			}
		}
		for _, want := range []string{"lost the answer when the worker was killed", "e-mails sent twice: 1;", "no clear answer came to the first: 1, by design", "killed once, with 0 calls"} {
			if !strings.Contains(text, want) {
				t.Errorf("there is no %q:\n%s", want, text)
			}
		}
	}
}

// A shop whose answer died with the worker needs one more code, and gets it once.
func TestProgress_CutShop(t *testing.T) {
	b := newProgress(makeShops(40))
	s := b.shops[0]
	for _, other := range b.shops[1:20] {
		other.step = selected
	}
	s.step, s.entered = entered, 1
	request := sandbox.Request{RequestID: "1", Time: time.Now().Add(-time.Second), Operation: sandbox.Activate, Subject: s.code(0, nil), Pending: true}
	if !b.timeToKill([]sandbox.Request{request}) {
		t.Error("an activation is on the wire and the worker lives")
	}
	b.killed([]sandbox.Request{request})
	if !s.cut || b.featured != s {
		t.Error("nobody knows whose call was cut")
	}
	request.Pending, request.Status, request.Answered = false, 200, time.Now()
	b.watch([]sandbox.Request{request})
	if last := b.lines[len(b.lines)-1]; last.text != "activate → worker is dead" {
		t.Errorf("the call is shown as %q", last.text)
	}
	lost := schemas.Event{Type: schemas.TypeActivationFailed, Subject: s.id, Data: schemas.ActivationFailed{Reason: schemas.FailureOutcomeLost, Action: schemas.ActionRequestNewCode}}
	if _, w := b.receive(lost); w != enterCode || s.codes() != 2 {
		t.Errorf("wish %v, %d codes", w, s.codes())
	}
	s.entered = 2
	if _, w := b.receive(lost); w != nothing || s.end != attention {
		t.Errorf("wish %v, end %q", w, s.end)
	}
}

// Who leaves the pipe ends the demo at once, and it says nothing more.
func TestOutput(t *testing.T) {
	var left error
	o := &output{w: brokenPipe{}, leave: func(err error) { left = err }}
	if _, err := o.Write([]byte("x")); err == nil || left == nil || !o.broken.Load() {
		t.Errorf("%v, %v", err, left)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, fmt.Errorf("broken pipe") }
