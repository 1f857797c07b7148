package onboarding

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
)

var signalNames = map[signal]string{
	sigNone: "none", sigAnswered: "answered", sigLimited: "limited", sigDrained: "drained", sigFault: "fault",
	sigUnauthorized: "unauthorized", sigRights: "rights", sigAddress: "address", sigPartner: "partner", sigRequest: "request",
	sigTokenGood: "token good", sigTokenBad: "token bad", sigTokenOdd: "token odd", sigTokenAddress: "token address", sigTokenPartner: "token partner", sigRefused: "refused", sigUnusable: "unusable", sigUsable: "usable", sigPause: "pause", sigResume: "resume", sigChanged: "changed",
}

// Every pair of state and signal, with and without the trial, against what is
// written here by hand; whatever is not written changes nothing.
func TestGateMoves(t *testing.T) {
	want := map[string]gateMove{
		"open answered": open, "open limited": limit, "open drained": limit, "open fault": countFault,
		"open unauthorized": pause, "open rights": countPause, "open address": countPause, "open partner": countPause, "open request": countPause,
		"limited limited": limit, "limited drained": limit, "limited unauthorized": pause,
		"limited answered trial": open, "limited fault trial": rest, "limited rights trial": countPause,
		"limited address trial": countPause, "limited partner trial": countPause, "limited request trial": countPause,
		"resting limited": limit, "resting unauthorized": pause,
		"resting answered trial": open, "resting drained trial": limit, "resting fault trial": rest, "resting rights trial": countPause,
		"resting address trial": countPause, "resting partner trial": countPause, "resting request trial": countPause,
		"open unusable": countUnusable, "limited unusable trial": countUnusable, "resting unusable trial": countUnusable,
		"paused/answers changed": try, "paused/answers usable": open, "paused/answers pause": pause, "paused/answers resume": try,
		"open refused": countShop, "limited refused trial": countShop, "resting refused trial": countShop,
		"paused/token token good": open, "paused/address token good": try,
		"open pause": pause, "limited pause": pause, "resting pause": pause, "paused/token pause": pause, "paused/address pause": pause,
		"paused/rights pause": pause, "paused/partner_id pause": pause, "paused/partner_id resume": try, "paused/partner_id changed": try, "paused/request pause": pause, "paused/a person pause": pause, "paused/operator pause": pause,
		"paused/rights resume": try, "paused/request resume": try, "paused/a person resume": try, "paused/operator resume": try,
		"paused/rights changed": try, "paused/request changed": try, "paused/refusals changed": try, "paused/refusals answered": open,
		"paused/refusals pause": pause, "paused/refusals resume": try,
	}
	// The trial after a pause: as any other of a rest, but for the same fault again.
	for reason, again := range map[Reason]signal{ReasonRights: sigRights, ReasonAddress: sigAddress, ReasonPartner: sigPartner, ReasonRequest: sigRequest, ReasonRefusals: sigRefused, ReasonAnswers: sigUnusable} {
		for name, move := range maps.Clone(want) {
			if rest, ok := strings.CutPrefix(name, "resting "); ok {
				want["resting/"+string(reason)+" "+rest] = move
			}
		}
		want["resting/"+string(reason)+" "+signalNames[again]+" trial"] = pause
	}
	delete(want, "resting/answers answered trial")
	delete(want, "resting/answers refused trial")
	want["resting/answers usable trial"] = open
	for name, move := range maps.Clone(want) {
		if rest, ok := strings.CutPrefix(name, "resting "); ok {
			want["resting/server_faults "+rest] = move
		}
	}
	for name, move := range map[string]gateMove{"token good": sound, "token odd": sound, "token bad": rest} {
		want["resting/server_faults "+name] = move
	}
	used := map[string]bool{}
	for _, g := range []journal.Gate{
		{State: journal.GateResting, Reason: string(ReasonServerFaults)},
		{State: journal.GateOpen}, {State: journal.GateLimited}, {State: journal.GateResting},
		{State: journal.GatePaused, Reason: string(ReasonToken)}, {State: journal.GatePaused, Reason: string(ReasonAddress)},
		{State: journal.GatePaused, Reason: string(ReasonRights)}, {State: journal.GatePaused, Reason: string(ReasonRequest)},
		{State: journal.GatePaused, Reason: string(ReasonOperator)}, {State: journal.GatePaused, Reason: string(ReasonRefusals)}, {State: journal.GatePaused, Reason: "a person"},
		{State: journal.GatePaused, Reason: string(ReasonAnswers)}, {State: journal.GatePaused, Reason: string(ReasonPartner)}, {State: journal.GateResting, Reason: string(ReasonPartner)}, {State: journal.GateResting, Reason: string(ReasonAnswers)},
		{State: journal.GateResting, Reason: string(ReasonRights)}, {State: journal.GateResting, Reason: string(ReasonAddress)},
		{State: journal.GateResting, Reason: string(ReasonRequest)}, {State: journal.GateResting, Reason: string(ReasonRefusals)},
	} {
		for s := sigNone; s <= lastSignal; s++ {
			for _, trial := range []bool{false, true} {
				name := string(g.State)
				if g.Reason != "" {
					name += "/" + g.Reason
				}
				name += " " + signalNames[s]
				expected, ok := want[name]
				if !ok && trial {
					name += " trial"
					expected, ok = want[name]
				}
				used[name] = used[name] || ok
				if got := gateMoveOf(g, s, trial); got != expected {
					t.Errorf("%s (trial %v): move %d, want %d", name, trial, got, expected)
				}
			}
		}
	}
	for name := range want {
		if !used[name] {
			t.Errorf("%q was never met", name)
		}
	}
}

func testGate() (*gate, time.Time) {
	now := time.Now()
	return newGate(Config{}.withDefaults(), journal.Gate{State: journal.GateOpen}, now), now
}

func TestGateRestsLongerEachTime(t *testing.T) {
	g, now := testGate()
	for i := 1; i < faultsToRest; i++ {
		if g.tell(sigFault, 0, false, now) {
			t.Fatalf("closed after %d faults", i)
		}
	}
	if !g.tell(sigFault, 0, false, now) || g.g.State != journal.GateResting {
		t.Fatalf("not resting after %d faults", faultsToRest)
	}
	var rests []time.Duration
	for range 8 {
		n, until := g.allowance(now)
		if n != 0 {
			t.Fatalf("a resting gate allows %d", n)
		}
		rests = append(rests, until.Sub(now))
		// Late answers of calls that began before change nothing.
		if g.tell(sigFault, 0, false, now) || g.tell(sigAnswered, 0, false, now) {
			t.Error("an answer of a call before the rest changed it")
		}
		now = until
		if n, _ := g.allowance(now); n != 0 || g.takeTrial(now) {
			t.Error("a trial before Invoicebox answered a check")
		}
		g.tell(sigTokenGood, 0, false, now)
		if n, _ := g.allowance(now); n != 1 || !g.takeTrial(now) {
			t.Fatal("no trial at the end of the rest")
		}
		if n, _ := g.allowance(now); n != 0 || g.takeTrial(now) {
			t.Error("a second trial beside the first")
		}
		g.tell(sigFault, 0, true, now)
		g.endTrial()
	}
	if got, want := fmt.Sprint(rests), "[5s 10s 20s 40s 1m20s 2m40s 5m0s 5m0s]"; got != want {
		t.Errorf("rests %s, want %s", got, want)
	}
	_, until := g.allowance(now)
	g.tell(sigTokenOdd, 0, false, until)
	g.takeTrial(until)
	if !g.tell(sigAnswered, 0, true, until) || g.g.State != journal.GateOpen || g.g.Count != 0 {
		t.Errorf("after a good trial: %+v", g.g)
	}
}

func TestGateCountsOnlyFaultsInARow(t *testing.T) {
	g, now := testGate()
	for range 50 {
		for range faultsToRest - 1 {
			g.tell(sigFault, 0, false, now)
		}
		g.tell(sigAnswered, 0, false, now)
	}
	for range 50 {
		g.tell(sigRights, 0, false, now)
		g.tell(sigAddress, 0, false, now)
	}
	if g.g.State != journal.GateOpen {
		t.Errorf("closed by faults that were not in a row: %+v", g.g)
	}
	for range faultsToPause {
		g.tell(sigRights, 0, false, now)
	}
	if g.g.State != journal.GatePaused || g.g.Reason != string(ReasonRights) || !g.checkAt.IsZero() {
		t.Errorf("%+v, checked at %v", g.g, g.checkAt)
	}
}

func TestGateLimitIsCappedAndNeverShortened(t *testing.T) {
	g, now := testGate()
	g.tell(sigLimited, 24*time.Hour, false, now)
	if _, until := g.allowance(now); until.Sub(now) != 15*time.Minute {
		t.Errorf("limited for %v", until.Sub(now))
	}
	g.tell(sigLimited, time.Second, false, now)
	if _, until := g.allowance(now); until.Sub(now) != 15*time.Minute {
		t.Errorf("a later answer shortened it to %v", until.Sub(now))
	}
	g, now = testGate()
	g.tell(sigDrained, time.Nanosecond, false, now)
	if _, until := g.allowance(now); until.Sub(now) != time.Second {
		t.Errorf("the floor is %v", until.Sub(now))
	}
}

func TestGateFromTheJournal(t *testing.T) {
	now := time.Now()
	cfg := Config{}.withDefaults()
	g := newGate(cfg, journal.Gate{State: journal.GateResting, Until: now.Add(1000 * time.Hour), Count: 3}, now)
	if _, until := g.allowance(now); until.Sub(now) > cfg.LimitCap {
		t.Errorf("a time from a clock that stepped closes the account for %v", until.Sub(now))
	}
	g = newGate(cfg, journal.Gate{State: journal.GateLimited, Until: now.Add(-time.Hour)}, now)
	if n, _ := g.allowance(now); n != 1 {
		t.Error("no trial although the time is over")
	}
	g = newGate(cfg, journal.Gate{State: journal.GatePaused, Reason: string(ReasonToken)}, now)
	if n, until := g.allowance(now); n != 0 || !until.IsZero() || g.checkAt.IsZero() {
		t.Error("a paused account is open, or its token is not checked")
	}
	if n, _ := newGate(cfg, journal.Gate{}, now).allowance(now); n != unlimited {
		t.Error("an account that the journal says nothing of is closed")
	}
}

// A restart lets an account try once that was paused for its rights or request,
// and no other.
func TestARestartRetriesAPause(t *testing.T) {
	now := time.Now()
	for reason, want := range map[Reason]bool{ReasonRights: true, ReasonPartner: true, ReasonRequest: true, ReasonToken: false, ReasonAddress: false, ReasonRefusals: false, "a person": false} {
		g := newGate(Config{}.withDefaults(), journal.Gate{State: journal.GatePaused, Reason: string(reason)}, now)
		if got := g.retry(now); got != want {
			t.Errorf("paused for %s: retried %v, want %v", reason, got, want)
		}
		if n, _ := g.allowance(now); want != (n == 1) {
			t.Errorf("paused for %s: %d calls are allowed", reason, n)
		}
		if want && (!g.takeTrial(now) || !g.closed(false)) {
			t.Errorf("paused for %s: more than one call is allowed", reason)
		}
	}
}
