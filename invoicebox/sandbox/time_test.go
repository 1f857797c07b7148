package sandbox_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/invoicebox/sandbox"
)

func TestLatencyIsExactWhenCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, stop := inBubble(t, sandbox.Options{Latency: 50 * time.Millisecond})
		defer stop()
		for i := range 5 {
			start := time.Now()
			b.activate(fmt.Sprint("c", i))
			if took := time.Since(start); took != 50*time.Millisecond {
				t.Errorf("took %v", took)
			}
		}
		for _, q := range b.Requests() {
			if q.Took != 50*time.Millisecond {
				t.Errorf("the log says %v", q.Took)
			}
		}
	})
}

func TestLatencyHasALongTailWhenRealistic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, stop := inBubble(t, sandbox.Options{Profile: sandbox.Realistic, Seed: 1, RequestsPerWindow: lifted, EgressPerWindow: lifted})
		defer stop()
		const n = 3000
		short, long, failed := 0, 0, 0
		for i := range n {
			start := time.Now()
			r := b.activate(fmt.Sprint("c", i))
			if r.err != nil || r.status != 200 {
				failed++
			}
			switch took := time.Since(start); {
			case took < 120*time.Millisecond:
				short++
			case took > 500*time.Millisecond:
				long++
			case took > 9*time.Second:
				t.Errorf("took %v", took)
			}
		}
		if short < n*45/100 || short > n*55/100 || long == 0 || long > n/10 || failed == 0 || failed > n/40 {
			t.Errorf("%d short, %d long, %d failed of %d", short, long, failed, n)
		}
	})
}

// TestCountAt sends two requests 15 s apart, under a latency that is drawn and a
// window of 10 s, and compares the server's count with the log: by arrival they
// never share a window; by answer they do when the first took over 5 s longer.
func TestCountAt(t *testing.T) {
	const apart, window = 15 * time.Second, 10 * time.Second
	shared := 0
	for seed := range uint64(60) {
		for _, at := range []sandbox.CountAt{sandbox.CountAtArrival, sandbox.CountAtAnswer, sandbox.CountBetween} {
			synctest.Test(t, func(t *testing.T) {
				b, stop := inBubble(t, sandbox.Options{
					Profile: sandbox.Realistic, Seed: seed, Latency: 12 * time.Second, CountAt: at, Window: window,
				})
				defer stop()
				var wg sync.WaitGroup
				wg.Go(func() { b.activate("a") })
				time.Sleep(apart)
				wg.Go(func() { b.activate("b") })
				wg.Wait()
				q, w := b.Requests(), b.Windows().Accounts[0]
				near := (q[1].Time.Add(q[1].Took).Sub(q[0].Time.Add(q[0].Took))).Abs() < window
				want := map[bool]int{true: 2, false: 1}[near && at == sandbox.CountAtAnswer]
				if at == sandbox.CountBetween {
					if w.Peak == 2 {
						shared++
					}
					return
				}
				if w.Peak != want || w.PeakArrivals != 1 || w.Requests != 2 {
					t.Errorf("seed %d, %s: %+v, log %+v", seed, at, w, q)
				}
			})
		}
	}
	if shared == 0 || shared == 60 {
		t.Errorf("between: %d of 60 shared a window", shared)
	}
}

func TestTheLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := sandbox.Account{PartnerID: "other", Token: "o", RequestsPerWindow: 2}
		mine := sandbox.Account{PartnerID: sandbox.DefaultPartnerID, Token: sandbox.DefaultToken}
		b, stop := inBubble(t, sandbox.Options{Accounts: []sandbox.Account{mine, other}, RequestsPerWindow: 3, EgressPerWindow: 6, Window: 10 * time.Second})
		defer stop()
		statuses := func(n int, call func() reply) (list []int) {
			for range n {
				list = append(list, call().status)
			}
			return list
		}
		want := func(what string, got []int, want ...int) {
			t.Helper()
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		check := func(token string) func() reply { return func() reply { return b.check(token) } }
		want("the account", statuses(4, check(sandbox.DefaultToken)), 200, 200, 200, 429)
		want("another account", statuses(3, check("o")), 200, 200, 429)
		want("a shop's token counts for the address only", statuses(2, check("nobody's")), 401, 429)
		r := b.check(sandbox.DefaultToken)
		if r.header.Get("Retry-After") != "10" || r.code(t) != "too_many_requests" {
			t.Errorf("%v %s", r.header, r.body)
		}
		time.Sleep(10*time.Second - 1)
		want("one nanosecond before the window ends", statuses(1, check(sandbox.DefaultToken)), 429)
		time.Sleep(1 * time.Nanosecond)
		want("when it ends", statuses(4, check(sandbox.DefaultToken)), 200, 200, 200, 429)
		w := b.Windows()
		a, ip := w.Accounts[0], w.IPs[0]
		if a.Account != sandbox.DefaultPartnerID || a.Limit != 3 || a.Requests != 10 || a.Peak != 6 || a.Limited != 4 || a.Exceeded != 5 {
			t.Errorf("account: %+v", a)
		}
		if ip.IP != "pipe" || ip.Limit != 6 || ip.Requests != 15 || ip.Peak != 11 || w.Window != 10*time.Second {
			t.Errorf("address: %+v", ip)
		}
	})
}

func TestRefusedRequestsCountWhenSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, stop := inBubble(t, sandbox.Options{CountRefused: true, RequestsPerWindow: 2, Window: 10 * time.Second, BareLimits: true})
		defer stop()
		for range 12 { // a client that never stops never gets in again
			b.check(sandbox.DefaultToken)
			time.Sleep(2 * time.Second)
		}
		if a := b.Windows().Accounts[0]; a.Limited != 10 || a.Peak != 5 {
			t.Errorf("%+v", a)
		}
		if r := b.check(sandbox.DefaultToken); r.status != 429 || r.body != "" || r.header.Get("Retry-After") != "" || r.header.Get("X-Request-Id") == "" {
			t.Errorf("%+v", r)
		}
	})
}

// TestTheServerGoesOnWithoutItsClient: the effect comes after the client has
// given up, at its time, and an overlap with the next request is seen.
func TestTheServerGoesOnWithoutItsClient(t *testing.T) {
	for _, at := range []sandbox.CountAt{sandbox.CountAtArrival, sandbox.CountAtAnswer} {
		synctest.Test(t, func(t *testing.T) {
			b, stop := inBubble(t, sandbox.Options{Latency: 10 * time.Second, CountAt: at})
			defer stop()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			if r := b.activateAs("c", func(r *http.Request) { *r = *r.WithContext(ctx) }); r.err == nil {
				t.Fatal("there is a response")
			}
			synctest.Wait()
			if e, q := b.activation("c"), b.Requests()[0]; e.Effects != 0 || !q.Pending {
				t.Errorf("before its time: %+v %+v", e, q)
			}
			r := b.activate("c")
			if r.status != 422 || r.code(t) != "activation_code_used" {
				t.Errorf("the next request: %d %s", r.status, r.body)
			}
			e, q := b.activation("c"), b.Requests()[0]
			if e.Effects != 1 || e.Overlaps != 1 || b.Effects().Overlaps != 1 || q.Pending || q.Status != 0 || !q.Effect || q.Took != 10*time.Second {
				t.Errorf("afterwards: %+v %+v", e, q)
			}
			if a := b.Windows().Accounts[0]; a.Peak != 2 {
				t.Errorf("counted %d", a.Peak)
			}
		})
	}
}

func TestOverlapsAreOfOneSubject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, stop := inBubble(t, sandbox.Options{Latency: time.Second})
		defer stop()
		var wg sync.WaitGroup
		for _, call := range []func(){
			func() { b.activate("c") }, func() { b.activate("c") }, func() { b.activate("d") }, func() { b.invite("c@c") }, func() { b.invite("c@c") }, func() { b.invite("c@c") },
		} {
			wg.Go(call)
		}
		wg.Wait()
		e := b.Effects()
		if e.Overlaps != 3 || b.activation("c").Overlaps != 1 || b.activation("d").Overlaps != 0 || b.invitation("c@c").Overlaps != 2 {
			t.Errorf("%+v", e)
		}
		// One after the other is no overlap, also where the response drips.
		b.activate("drip-x")
		b.activate("drip-x")
		if b.Effects().Overlaps != 3 {
			t.Errorf("%+v", b.Effects())
		}
	})
}

// TestTheSeedReplaysARun asks about the same values twice, in another order.
func TestTheSeedReplaysARun(t *testing.T) {
	const n = 120
	fates := func(seed uint64, backwards bool) map[string]string {
		out := map[string]string{}
		synctest.Test(t, func(t *testing.T) {
			// The spells of hostile depend on the time: all arrive at one instant.
			b, stop := inBubble(t, sandbox.Options{Profile: sandbox.Hostile, Seed: seed, RequestsPerWindow: lifted, EgressPerWindow: lifted, Latency: time.Nanosecond})
			defer stop()
			var wg sync.WaitGroup
			var mu sync.Mutex
			for i := range n {
				if backwards {
					i = n - 1 - i
				}
				wg.Go(func() {
					code := fmt.Sprint("c", i)
					r := b.activate(code)
					mu.Lock()
					defer mu.Unlock()
					out[code] = fmt.Sprint(r.status, r.err != nil, r.body)
				})
			}
			wg.Wait()
		})
		return out
	}
	a, again, other := fates(5, false), fates(5, true), fates(6, false)
	differ := 0
	for code, fate := range a {
		if again[code] != fate {
			t.Errorf("%s: %s, then %s", code, fate, again[code])
		}
		if !strings.HasPrefix(other[code], "200") && other[code] != fate {
			differ++
		}
	}
	if len(a) != n || differ == 0 {
		t.Errorf("another seed gives the same fates")
	}
}

// TestHostileKeepsItsOwnPromises: whatever goes wrong, a code is spent once and
// the books add up.
func TestHostileKeepsItsOwnPromises(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, stop := inBubble(t, sandbox.Options{Profile: sandbox.Hostile, Seed: 11})
		defer stop()
		statuses, gone := map[int]int{}, 0
		for i := range 1500 {
			var r reply
			code := fmt.Sprint("c", i%300)
			switch i % 3 {
			case 0, 1:
				r = b.activate(code)
			default:
				r = b.check(b.TokenOf(code))
			}
			if r.err != nil || r.bodyErr != nil {
				gone++
			}
			statuses[r.status]++
			time.Sleep(100 * time.Millisecond)
		}
		effects, requests := 0, 0
		for _, a := range b.Effects().Activations {
			if a.Effects > 1 {
				t.Errorf("spent twice: %+v", a)
			}
			effects += a.Effects
			requests += a.Requests
		}
		logged, done := 0, 0
		for _, q := range b.Requests() {
			if q.Operation == sandbox.Activate {
				logged++
			}
			if q.Effect {
				done++
			}
		}
		if requests != 1000 || logged != requests || done != effects || gone == 0 {
			t.Errorf("%d requests, %d logged, %d effects, %d in the log, %d gone", requests, logged, effects, done, gone)
		}
		for _, status := range []int{0, 200, 307, 401, 400, 403, 404, 408, 409, 422, 429, 500, 502, 503} {
			if statuses[status] == 0 {
				t.Errorf("never met: %d, of %v", status, statuses)
			}
		}
	})
}
