package breaker

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
)

var allOutcomes = []invoicebox.Outcome{invoicebox.Done, invoicebox.Refused, invoicebox.NotExecuted, invoicebox.Limited, invoicebox.ProbablyNotExecuted, invoicebox.Unauthorized, invoicebox.OurFault, invoicebox.Unknown, invoicebox.Unreadable}

var signalNames = map[Signal]string{
	SignalNone: "none", SignalAnswered: "answered", SignalLimited: "limited", SignalRateLimitExhausted: "drained", SignalServerFault: "fault",
	SignalUnauthorized: "unauthorized", SignalRights: "rights", SignalAddress: "address", SignalPartner: "partner", SignalRequest: "request",
	SignalTokenValid: "token good", SignalTokenNoAnswer: "token bad", SignalTokenInconclusive: "token odd", SignalTokenAddress: "token address", SignalTokenPartner: "token partner", SignalRefused: "refused", SignalUnusable: "unusable", SignalUsable: "usable", SignalPause: "pause", SignalResume: "resume", SignalSettingsChanged: "changed",
}

// Every pair of state and signal, with and without the trial, against what is
// written here by hand; whatever is not written changes nothing.
func TestBreaker_Moves(t *testing.T) {
	want := map[string]action{
		"active answered": open, "active limited": limit, "active drained": limit, "active fault": countServerFault,
		"active unauthorized": pause, "active rights": countOurFault, "active address": countOurFault, "active partner": countOurFault, "active request": countOurFault,
		"throttled limited": limit, "throttled drained": limit, "throttled unauthorized": pause,
		"throttled answered trial": open, "throttled fault trial": rest, "throttled rights trial": countOurFault,
		"throttled address trial": countOurFault, "throttled partner trial": countOurFault, "throttled request trial": countOurFault,
		"backing_off limited": limit, "backing_off unauthorized": pause,
		"backing_off answered trial": open, "backing_off drained trial": limit, "backing_off fault trial": rest, "backing_off rights trial": countOurFault,
		"backing_off address trial": countOurFault, "backing_off partner trial": countOurFault, "backing_off request trial": countOurFault,
		"active unusable": countUnusable, "throttled unusable trial": countUnusable, "backing_off unusable trial": countUnusable,
		"paused/answers changed": halfOpen, "paused/answers usable": open, "paused/answers pause": pause, "paused/answers resume": halfOpen,
		"active refused": countShop, "throttled refused trial": countShop, "backing_off refused trial": countShop,
		"paused/token token good": open, "paused/address token good": halfOpen,
		"active pause": pause, "throttled pause": pause, "backing_off pause": pause, "paused/token pause": pause, "paused/address pause": pause,
		"paused/rights pause": pause, "paused/partner_id pause": pause, "paused/partner_id resume": halfOpen, "paused/partner_id changed": halfOpen, "paused/request pause": pause, "paused/a person pause": pause, "paused/operator pause": pause,
		"paused/rights resume": halfOpen, "paused/request resume": halfOpen, "paused/a person resume": halfOpen, "paused/operator resume": halfOpen,
		"paused/rights changed": halfOpen, "paused/request changed": halfOpen, "paused/refusals changed": halfOpen, "paused/refusals answered": open,
		"paused/refusals pause": pause, "paused/refusals resume": halfOpen,
	}
	// The trial after a pause: as any other of a rest, but for the same fault again.
	for reason, again := range map[onboarding.Reason]Signal{onboarding.ReasonRights: SignalRights, onboarding.ReasonAddress: SignalAddress, onboarding.ReasonPartner: SignalPartner, onboarding.ReasonRequest: SignalRequest, onboarding.ReasonRefusals: SignalRefused, onboarding.ReasonAnswers: SignalUnusable} {
		for name, move := range maps.Clone(want) {
			if rest, ok := strings.CutPrefix(name, "backing_off "); ok {
				want["backing_off/"+string(reason)+" "+rest] = move
			}
		}
		want["backing_off/"+string(reason)+" "+signalNames[again]+" trial"] = pause
	}
	delete(want, "backing_off/answers answered trial")
	delete(want, "backing_off/answers refused trial")
	want["backing_off/answers usable trial"] = open
	for name, move := range maps.Clone(want) {
		if rest, ok := strings.CutPrefix(name, "backing_off "); ok {
			want["backing_off/server_faults "+rest] = move
		}
	}
	for name, move := range map[string]action{"token good": allowTrial, "token odd": allowTrial, "token bad": rest} {
		want["backing_off/server_faults "+name] = move
	}
	used := map[string]bool{}
	for _, g := range []journal.Circuit{
		{State: journal.CircuitBackingOff, Reason: string(onboarding.ReasonServerFaults)},
		{State: journal.CircuitActive}, {State: journal.CircuitThrottled}, {State: journal.CircuitBackingOff},
		{State: journal.CircuitPaused, Reason: string(onboarding.ReasonToken)}, {State: journal.CircuitPaused, Reason: string(onboarding.ReasonAddress)},
		{State: journal.CircuitPaused, Reason: string(onboarding.ReasonRights)}, {State: journal.CircuitPaused, Reason: string(onboarding.ReasonRequest)},
		{State: journal.CircuitPaused, Reason: string(onboarding.ReasonOperator)}, {State: journal.CircuitPaused, Reason: string(onboarding.ReasonRefusals)}, {State: journal.CircuitPaused, Reason: "a person"},
		{State: journal.CircuitPaused, Reason: string(onboarding.ReasonAnswers)}, {State: journal.CircuitPaused, Reason: string(onboarding.ReasonPartner)}, {State: journal.CircuitBackingOff, Reason: string(onboarding.ReasonPartner)}, {State: journal.CircuitBackingOff, Reason: string(onboarding.ReasonAnswers)},
		{State: journal.CircuitBackingOff, Reason: string(onboarding.ReasonRights)}, {State: journal.CircuitBackingOff, Reason: string(onboarding.ReasonAddress)},
		{State: journal.CircuitBackingOff, Reason: string(onboarding.ReasonRequest)}, {State: journal.CircuitBackingOff, Reason: string(onboarding.ReasonRefusals)},
	} {
		for s := SignalNone; s <= lastSignal; s++ {
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
				if got := actionOf(g, s, trial); got != expected {
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

// testBreakerConfig has the defaults of the engine.
func testBreakerConfig() Config {
	return Config{
		Concurrency: 64, LimitCap: 15 * time.Minute, RestBase: 5 * time.Second, RestCap: 5 * time.Minute,
		TokenCheckBase: 30 * time.Second, TokenCheckCap: 5 * time.Minute,
	}
}

func testCircuit() (*Breaker, time.Time) {
	now := time.Now()
	return New(testBreakerConfig(), journal.Circuit{State: journal.CircuitActive}, now), now
}

func TestBreaker_RestsLongerEachTime(t *testing.T) {
	g, now := testCircuit()
	for i := 1; i < FaultsToRest; i++ {
		if g.Record(SignalServerFault, 0, false, now) {
			t.Fatalf("closed after %d faults", i)
		}
	}
	if !g.Record(SignalServerFault, 0, false, now) || g.g.State != journal.CircuitBackingOff {
		t.Fatalf("not backing off after %d faults", FaultsToRest)
	}
	var rests []time.Duration
	for range 8 {
		n, until := g.Allowance(now)
		if n != 0 {
			t.Fatalf("a backing-off circuit breaker allows %d", n)
		}
		rests = append(rests, until.Sub(now))
		// Late answers of calls that began before change nothing.
		if g.Record(SignalServerFault, 0, false, now) || g.Record(SignalAnswered, 0, false, now) {
			t.Error("an answer of a call before the rest changed it")
		}
		now = until
		if n, _ := g.Allowance(now); n != 0 || g.ReserveTrial(now) {
			t.Error("a trial before Invoicebox answered a check")
		}
		g.Record(SignalTokenValid, 0, false, now)
		if n, _ := g.Allowance(now); n != 1 || !g.ReserveTrial(now) {
			t.Fatal("no trial at the end of the rest")
		}
		if n, _ := g.Allowance(now); n != 0 || g.ReserveTrial(now) {
			t.Error("a second trial beside the first")
		}
		g.Record(SignalServerFault, 0, true, now)
		g.EndTrial()
	}
	if got, want := fmt.Sprint(rests), "[5s 10s 20s 40s 1m20s 2m40s 5m0s 5m0s]"; got != want {
		t.Errorf("rests %s, want %s", got, want)
	}
	_, until := g.Allowance(now)
	g.Record(SignalTokenInconclusive, 0, false, until)
	g.ReserveTrial(until)
	if !g.Record(SignalAnswered, 0, true, until) || g.g.State != journal.CircuitActive || g.g.Count != 0 {
		t.Errorf("after a good trial: %+v", g.g)
	}
}

func TestBreaker_CountsOnlyFaultsInARow(t *testing.T) {
	g, now := testCircuit()
	for range 50 {
		for range FaultsToRest - 1 {
			g.Record(SignalServerFault, 0, false, now)
		}
		g.Record(SignalAnswered, 0, false, now)
	}
	for range 50 {
		g.Record(SignalRights, 0, false, now)
		g.Record(SignalAddress, 0, false, now)
	}
	if g.g.State != journal.CircuitActive {
		t.Errorf("closed by faults that were not in a row: %+v", g.g)
	}
	for range FaultsToPause {
		g.Record(SignalRights, 0, false, now)
	}
	if g.g.State != journal.CircuitPaused || g.g.Reason != string(onboarding.ReasonRights) || !g.checkAt.IsZero() {
		t.Errorf("%+v, checked at %v", g.g, g.checkAt)
	}
}

func TestBreaker_LimitIsCappedAndNeverShortened(t *testing.T) {
	g, now := testCircuit()
	g.Record(SignalLimited, 24*time.Hour, false, now)
	if _, until := g.Allowance(now); until.Sub(now) != 15*time.Minute {
		t.Errorf("limited for %v", until.Sub(now))
	}
	g.Record(SignalLimited, time.Second, false, now)
	if _, until := g.Allowance(now); until.Sub(now) != 15*time.Minute {
		t.Errorf("a later answer shortened it to %v", until.Sub(now))
	}
	g, now = testCircuit()
	g.Record(SignalRateLimitExhausted, time.Nanosecond, false, now)
	if _, until := g.Allowance(now); until.Sub(now) != time.Second {
		t.Errorf("the floor is %v", until.Sub(now))
	}
}

func TestBreaker_FromTheJournal(t *testing.T) {
	now := time.Now()
	cfg := testBreakerConfig()
	g := New(cfg, journal.Circuit{State: journal.CircuitBackingOff, Until: now.Add(1000 * time.Hour), Count: 3}, now)
	if _, until := g.Allowance(now); until.Sub(now) > cfg.LimitCap {
		t.Errorf("a time from a clock that stepped closes the account for %v", until.Sub(now))
	}
	g = New(cfg, journal.Circuit{State: journal.CircuitThrottled, Until: now.Add(-time.Hour)}, now)
	if n, _ := g.Allowance(now); n != 1 {
		t.Error("no trial although the time is over")
	}
	g = New(cfg, journal.Circuit{State: journal.CircuitPaused, Reason: string(onboarding.ReasonToken)}, now)
	if n, until := g.Allowance(now); n != 0 || !until.IsZero() || g.checkAt.IsZero() {
		t.Error("a paused account is open, or its token is not checked")
	}
	if n, _ := New(cfg, journal.Circuit{}, now).Allowance(now); n != Unlimited {
		t.Error("an account that the journal says nothing of is closed")
	}
}

// A restart lets an account try once that was paused for its rights or request,
// and no other.
func TestBreaker_RestartRetriesAPause(t *testing.T) {
	now := time.Now()
	for reason, want := range map[onboarding.Reason]bool{onboarding.ReasonRights: true, onboarding.ReasonPartner: true, onboarding.ReasonRequest: true, onboarding.ReasonToken: false, onboarding.ReasonAddress: false, onboarding.ReasonRefusals: false, "a person": false} {
		g := New(testBreakerConfig(), journal.Circuit{State: journal.CircuitPaused, Reason: string(reason)}, now)
		if got := g.retryAfterRestart(now); got != want {
			t.Errorf("paused for %s: retried %v, want %v", reason, got, want)
		}
		if n, _ := g.Allowance(now); want != (n == 1) {
			t.Errorf("paused for %s: %d calls are allowed", reason, n)
		}
		if want && (!g.ReserveTrial(now) || !g.Blocks(false)) {
			t.Errorf("paused for %s: more than one call is allowed", reason)
		}
	}
}

func TestBreaker_CountsRefusedShopsInARow(t *testing.T) {
	refuse := func(g *Breaker, shop int, now time.Time) bool {
		return g.RecordShop(fmt.Sprint("shop-", shop), SignalRefused, 0, false, now)
	}
	t.Run("one shop again and again is one", func(t *testing.T) {
		g, now := testCircuit()
		for i := range 10 * RefusalsToPause {
			if refuse(g, i%(RefusalsToPause-1), now) {
				t.Fatalf("closed by %d refusals of %d shops", i+1, RefusalsToPause-1)
			}
		}
		if !refuse(g, RefusalsToPause, now) || g.g.State != journal.CircuitPaused || g.g.Reason != string(onboarding.ReasonRefusals) || !g.checkAt.IsZero() {
			t.Errorf("%+v, checked at %v", g.g, g.checkAt)
		}
	})
	t.Run("a success begins anew", func(t *testing.T) {
		g, now := testCircuit()
		for i := range 10 * RefusalsToPause {
			if refuse(g, i, now) {
				t.Fatal("closed although not in a row")
			}
			if i%(RefusalsToPause-1) == 0 {
				g.Record(SignalAnswered, 0, false, now)
			}
		}
	})
	t.Run("faults of the server are no success, and a refusal ends their row", func(t *testing.T) {
		g, now := testCircuit()
		for i := range RefusalsToPause {
			for range FaultsToRest - 1 {
				if g.Record(SignalServerFault, 0, false, now) {
					t.Fatal("backs off although the faults were not in a row")
				}
			}
			if refuse(g, i, now) != (i == RefusalsToPause-1) {
				t.Fatalf("after %d shops: %+v", i+1, g.g)
			}
		}
	})
	t.Run("a success from before the pause opens", func(t *testing.T) {
		g, now := testCircuit()
		for i := range RefusalsToPause {
			refuse(g, i, now)
		}
		if refuse(g, 1000, now) || !g.Record(SignalAnswered, 0, false, now) || g.g.State != journal.CircuitActive {
			t.Errorf("%+v", g.g)
		}
		if refuse(g, 1001, now) {
			t.Error("the count did not begin anew")
		}
	})
}

func TestBreaker_CountsAnswersOfNoUse(t *testing.T) {
	unusable := func(g *Breaker, shop int, trial bool, now time.Time) bool {
		return g.RecordShop(fmt.Sprint("shop-", shop), SignalUnusable, 0, trial, now)
	}
	paused := func(g *Breaker) bool {
		return g.g.State == journal.CircuitPaused && g.g.Reason == string(onboarding.ReasonAnswers)
	}
	t.Run("one shop again and again is one", func(t *testing.T) {
		g, now := testCircuit()
		for i := range 10 {
			if unusable(g, i%(UnusableToPause-1), false, now) {
				t.Fatal("paused")
			}
		}
		if !unusable(g, 100, false, now) || !paused(g) {
			t.Errorf("%+v", g.g)
		}
	})
	t.Run("only an activation that is stored ends the row", func(t *testing.T) {
		for s := SignalNone; s <= lastSignal; s++ {
			g, now := testCircuit()
			for i := range UnusableToPause - 1 {
				unusable(g, i, false, now)
			}
			g.RecordShop("other", s, time.Second, false, now)
			g.Record(SignalPause, 0, false, now)
			g.Record(SignalResume, 0, false, now)
			unusable(g, 100, true, now)
			if want := s != SignalUsable; paused(g) != want {
				t.Errorf("after %s: %+v", signalNames[s], g.g)
			}
		}
	})
	t.Run("a trial of another kind opens nothing", func(t *testing.T) {
		g, now := testCircuit()
		for i := range UnusableToPause {
			unusable(g, i, false, now)
		}
		g.Record(SignalResume, 0, false, now)
		for _, s := range []Signal{SignalAnswered, SignalRefused} {
			if g.RecordShop("other", s, 0, true, now) || g.g.State != journal.CircuitBackingOff || !g.ReserveTrial(now) {
				t.Fatalf("%+v", g.g)
			}
			g.EndTrial()
		}
		if !unusable(g, 100, true, now) || !paused(g) {
			t.Errorf("%+v", g.g)
		}
		g.Record(SignalResume, 0, false, now)
		if !g.Record(SignalUsable, 0, true, now) || g.g.State != journal.CircuitActive || unusable(g, 101, false, now) {
			t.Errorf("%+v", g.g)
		}
	})
}

// A breaker that closes again for the same reason has been closed since the first time,
// and the status names what the last call met.
func TestBreaker_SinceWhenAnAccountBacksOff(t *testing.T) {
	began := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	g := New(Config{RestBase: time.Second, RestCap: time.Minute}, journal.Circuit{}, began)
	now := began
	for range FaultsToRest {
		g.Record(SignalServerFault, 0, false, now)
	}
	for range 3 {
		now = now.Add(time.Minute)
		g.Record(SignalTokenNoAnswer, 0, false, now)
	}
	if g.g.State != journal.CircuitBackingOff || !g.g.Since.Equal(began) || !g.g.Until.After(now) {
		t.Errorf("%+v", g.g)
	}
	g.Record(SignalLimited, time.Second, false, now)
	if g.g.State != journal.CircuitThrottled || !g.g.Since.Equal(now) {
		t.Errorf("%+v", g.g)
	}
}

func TestBreaker_SignalsCoverEverything(t *testing.T) {
	for _, outcome := range allOutcomes {
		found := false
		for _, r := range signalRules {
			found = found || r.outcome == outcome && r.kind == 0 && r.status == 0 && r.failure == "" && r.fault == invoicebox.FaultNone && !r.unwritten
		}
		if !found {
			t.Errorf("%v: no row takes what the others leave", outcome)
		}
	}
	for _, c := range []struct {
		kind   journal.Kind
		v      invoicebox.Classification
		status int
		want   Signal
	}{
		{journal.Activate, invoicebox.Classification{Outcome: invoicebox.NotExecuted, Reason: invoicebox.ReasonConnect}, 0, SignalServerFault},
		{journal.Activate, invoicebox.Classification{Outcome: invoicebox.NotExecuted, Reason: invoicebox.ReasonSendBy}, 0, SignalNone},
		{journal.Activate, invoicebox.Classification{Outcome: invoicebox.NotExecuted, Reason: invoicebox.ReasonTooEarly}, 425, SignalNone},
		{journal.Activate, invoicebox.Classification{Outcome: invoicebox.Unknown, Reason: invoicebox.ReasonCanceled}, 0, SignalNone},
		{journal.Activate, invoicebox.Classification{Outcome: invoicebox.Unknown, Reason: invoicebox.ReasonServerError}, 500, SignalServerFault},
		{journal.Activate, invoicebox.Classification{Outcome: invoicebox.OurFault, Fault: invoicebox.FaultRights}, 403, SignalRights},
		{journal.Activate, invoicebox.Classification{Outcome: invoicebox.OurFault, Fault: invoicebox.FaultAddress}, 404, SignalAddress},
		{journal.Activate, invoicebox.Classification{Outcome: invoicebox.OurFault, Fault: invoicebox.FaultPartnerID}, 422, SignalPartner},
		{journal.Activate, invoicebox.Classification{Outcome: invoicebox.OurFault, Fault: invoicebox.FaultRequest}, 400, SignalRequest},
		{journal.Activate, invoicebox.Classification{Outcome: invoicebox.OurFault, Fault: invoicebox.FaultRequest, Reason: invoicebox.ReasonValue}, 0, SignalNone},
		{journal.Invite, invoicebox.Classification{Outcome: invoicebox.Refused}, 409, SignalAnswered},
		{journal.Invite, invoicebox.Classification{Outcome: invoicebox.Refused}, 422, SignalRefused},
		{journal.Activate, invoicebox.Classification{Outcome: invoicebox.Refused}, 409, SignalRefused},
		{journal.Activate, invoicebox.Classification{Outcome: invoicebox.Done}, 200, SignalAnswered},
		{journal.Activate, invoicebox.Classification{Outcome: invoicebox.Unreadable}, 200, SignalNone},
		{journal.Invite, invoicebox.Classification{Outcome: invoicebox.Unreadable}, 200, SignalAnswered},
	} {
		if got := SignalOf(c.kind, c.v, c.status); got != c.want {
			t.Errorf("%v %s %d: signal %d, want %d", c.v.Outcome, c.v.Reason, c.status, got, c.want)
		}
	}
}

// The bound after each of a row of responses: + is one that is stored, and a
// letter the shop of one that cannot be used.
func TestSlowStart(t *testing.T) {
	for _, c := range []struct {
		concurrency int
		responses   string
		want        []int // 0: none
	}{
		{64, "", []int{3}},
		{64, "+++++", []int{3, 6, 12, 24, 48, 0}},
		{64, "++++++a+", []int{3, 6, 12, 24, 48, 0, 0, 2, 4}},
		{64, "abcd", []int{3, 2, 1, 1, 1}},
		{64, "aaa", []int{3, 2, 2, 2}},
		{64, "abc+a", []int{3, 2, 1, 1, 2, 2}},
		{64, "+a+b++++++", []int{3, 6, 2, 4, 2, 4, 8, 16, 32, 0, 0}},
		{6, "+", []int{3, 0}},
		{1, "", []int{3}},
		{1, "+a", []int{3, 0, 2}},
	} {
		now, cfg := time.Now(), testBreakerConfig()
		cfg.Concurrency = c.concurrency
		g := New(cfg, journal.Circuit{State: journal.CircuitActive}, now)
		for i := range c.want {
			if i > 0 {
				s := SignalUnusable
				if c.responses[i-1] == '+' {
					s = SignalUsable
				}
				g.RecordShop(c.responses[i-1:i], s, 0, false, now)
			}
			if g.start.bound != c.want[i] {
				t.Errorf("concurrency %d, after %q: bound %d, want %d", c.concurrency, c.responses[:i], g.start.bound, c.want[i])
			}
			free := Unlimited
			if c.want[i] > 0 {
				free = max(0, c.want[i]-2)
			}
			if got := g.ActivationsLeft(2); got != free {
				t.Errorf("concurrency %d, after %q: %d free beside two, want %d", c.concurrency, c.responses[:i], got, free)
			}
		}
	}
}

// No other signal says that a success can be read, or that it cannot.
func TestSlowStart_IgnoresOtherSignals(t *testing.T) {
	for s := SignalNone; s <= lastSignal; s++ {
		for _, trial := range []bool{false, true} {
			g, now := testCircuit()
			g.RecordShop("shop", s, time.Second, trial, now)
			if changed := g.start.bound != SlowStartBound; changed != (s == SignalUsable || s == SignalUnusable) {
				t.Errorf("%s (trial %v): bound %d", signalNames[s], trial, g.start.bound)
			}
		}
	}
}

// What another replica learned of responses holds here too.
func TestSlowStart_AfterAnotherReplicasPause(t *testing.T) {
	for _, state := range []journal.CircuitState{journal.CircuitPaused, journal.CircuitBackingOff} {
		for _, reason := range []onboarding.Reason{onboarding.ReasonAnswers, onboarding.ReasonOperator} {
			g, now := testCircuit()
			for range 10 {
				g.Record(SignalUsable, 0, false, now)
			}
			g.load(journal.Circuit{State: state, Reason: string(reason)}, now)
			g.load(journal.Circuit{State: journal.CircuitActive}, now)
			if got, want := g.ActivationsLeft(0) == Unlimited, reason != onboarding.ReasonAnswers; got != want {
				t.Errorf("%s for %s: unlimited %v", state, reason, got)
			}
		}
	}
}

// Every reason that a breaker can have is described in words, and no other.
func TestBreaker_ReasonsAreDescribed(t *testing.T) {
	reasons := map[onboarding.Reason]bool{}
	for _, r := range signalReasons {
		reasons[r] = true
	}
	for _, r := range rules {
		if r.reason != "" {
			reasons[r.reason] = true
		}
	}
	described := 0
	for _, row := range onboarding.AccountReasonRows() {
		if !reasons[row.Reason] {
			t.Errorf("no breaker has the reason %s", row.Reason)
		}
		described++
	}
	if described != len(reasons) {
		t.Errorf("%d reasons are described, breakers have %d", described, len(reasons))
	}
}
