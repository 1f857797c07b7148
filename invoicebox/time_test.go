package invoicebox_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/invoicebox"
)

// serveGood answers every request of a connection with a good response.
func serveGood(op invoicebox.Operation) func(*served) {
	return func(s *served) {
		for {
			if _, _, ok := s.request(); !ok || !s.say(answer(200, good(op))) {
				return
			}
		}
	}
}

func TestSlowAnswersEndAtTheDeadline(t *testing.T) {
	for name, c := range map[string]struct {
		head    string
		status  int
		outcome invoicebox.Outcome
	}{
		"no byte":                {"", 0, invoicebox.Unknown},
		"slow headers":           {"HTTP/1.1 200 OK\r\nX-A: ", 200, invoicebox.Unreadable},
		"slow body":              {"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", 200, invoicebox.Unreadable},
		"slow body of a refusal": {"HTTP/1.1 422 X\r\nContent-Length: 5000\r\n\r\n", 422, invoicebox.OurFault},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &memory{handle: func(s *served) {
					if _, _, ok := s.request(); !ok {
						return
					}
					for ok := s.say(c.head); ok && c.head != ""; ok = s.say("x") {
						time.Sleep(time.Second)
					}
					s.hold()
				}}
				transport := m.transport()
				client, log := newClient(t, options("http://127.0.0.1", transport))
				x := perform(t.Context(), client, invoicebox.Activate, invoicebox.CallOptions{})
				if took := x.Finished.Sub(x.Started); took != invoicebox.DefaultDeadline {
					t.Errorf("took %s", took)
				}
				if x.Status != c.status || x.BodyComplete || !errors.Is(x.Err, invoicebox.ErrDeadline) || !errors.Is(x.Err, context.DeadlineExceeded) {
					t.Errorf("status %d, complete %t, %v", x.Status, x.BodyComplete, x.Err)
				}
				if v := invoicebox.Classify(x); v.Outcome != c.outcome {
					t.Errorf("%+v", v)
				}
				mustNotLeak(t, x, log.String())
				// The connection is closed by now, not merely given up.
				m.wait.Wait()
			})
		})
	}
}

func TestCancelEndsACallAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{handle: func(s *served) {
			s.request()
			s.hold()
		}}
		client, _ := newClient(t, options("http://127.0.0.1", m.transport()))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, cancel)
		x := perform(ctx, client, invoicebox.Invite, invoicebox.CallOptions{})
		if x.Finished.Sub(x.Started) != 3*time.Second || !errors.Is(x.Err, invoicebox.ErrCanceled) || !errors.Is(x.Err, context.Canceled) || x.Written == 0 {
			t.Errorf("%+v", x)
		}
		m.wait.Wait()
		cancel()
		if x := perform(ctx, client, invoicebox.Invite, invoicebox.CallOptions{}); x.Written != 0 || !errors.Is(x.Err, invoicebox.ErrCanceled) || m.requests.Load() != 1 {
			t.Errorf("a call with a dead context: %+v", x)
		}
	})
}

func TestSendBy(t *testing.T) {
	const slow = 5 * time.Second
	for name, c := range map[string]struct {
		sendBy time.Duration // from now on
		dial   time.Duration
		sent   bool
		took   time.Duration
	}{
		"long ago":             {-time.Hour, 0, false, 0},
		"now":                  {0, 0, false, 0},
		"soon enough":          {time.Nanosecond, 0, true, 0},
		"while dialling":       {2 * time.Second, slow, false, 2 * time.Second},
		"as the dial ends":     {slow, slow, false, slow},
		"right after the dial": {slow + 1, slow, true, slow},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &memory{handle: serveGood(invoicebox.Activate)}
				transport := invoicebox.NewTransport(invoicebox.TransportOptions{Dial: func(ctx context.Context, n, a string) (net.Conn, error) {
					select {
					case <-time.After(c.dial):
						return m.dial(ctx, n, a)
					case <-ctx.Done():
						return nil, ctx.Err()
					}
				}})
				client, _ := newClient(t, options("http://127.0.0.1", transport))
				x := perform(t.Context(), client, invoicebox.Activate, invoicebox.CallOptions{SendBy: time.Now().Add(c.sendBy)})
				synctest.Wait()
				if sent := m.bytes.Load(); (sent > 0) != c.sent || x.Written != sent {
					t.Errorf("written %d, seen %d, want sent %t", x.Written, sent, c.sent)
				}
				if c.sent != (x.Err == nil) || (!c.sent && !errors.Is(x.Err, invoicebox.ErrSendByPassed)) {
					t.Errorf("error %v", x.Err)
				}
				if took := x.Finished.Sub(x.Started); took != c.took {
					t.Errorf("took %s, want %s", took, c.took)
				}
				if v := invoicebox.Classify(x); !c.sent && v != (invoicebox.Classification{Outcome: invoicebox.NotExecuted, Reason: invoicebox.ReasonSendBy, Rule: "nothing_written"}) {
					t.Errorf("%+v", v)
				}
			})
		})
	}
}

// A second try comes only after a first that wrote nothing, and never a third.
func TestTries(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for name, c := range map[string]struct {
		fail     int // so many dials
		sendBy   time.Duration
		tries    int
		requests int64
	}{
		"the second goes well":       {1, time.Minute, 2, 1},
		"both fail":                  {2, time.Minute, 2, 0},
		"no time for a second":       {1, 10 * time.Millisecond, 2, 0},
		"the first goes well, alone": {0, time.Minute, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &memory{handle: serveGood(invoicebox.Activate)}
				dials := 0
				transport := invoicebox.NewTransport(invoicebox.TransportOptions{Dial: func(ctx context.Context, n, a string) (net.Conn, error) {
					if dials++; dials <= c.fail {
						return nil, refused
					}
					return m.dial(ctx, n, a)
				}})
				client, _ := newClient(t, options("http://127.0.0.1", transport))
				x := perform(t.Context(), client, invoicebox.Activate, invoicebox.CallOptions{SendBy: time.Now().Add(c.sendBy)})
				if x.Tries != c.tries || m.requests.Load() != c.requests {
					t.Errorf("%d tries, %d requests: %v", x.Tries, m.requests.Load(), x.Err)
				}
				if took := x.Finished.Sub(x.Started); took > 150*time.Millisecond {
					t.Errorf("took %s", took)
				}
				if c.fail == 2 && (!errors.Is(x.Err, invoicebox.ErrUnreachable) || !errors.Is(x.Err, syscall.ECONNREFUSED)) {
					t.Errorf("error %v", x.Err)
				}
			})
		})
	}
}

func TestAnsweredCallsAreNotTriedAgain(t *testing.T) {
	for _, status := range []int{408, 425, 429, 500, 502, 503, 504} {
		synctest.Test(t, func(t *testing.T) {
			m := &memory{handle: func(s *served) {
				s.request()
				s.say(answer(status, "", "Retry-After: 7200", "Connection: close"))
			}}
			client, _ := newClient(t, options("http://127.0.0.1", m.transport()))
			for _, op := range all {
				before := m.requests.Load()
				x := perform(t.Context(), client, op, invoicebox.CallOptions{})
				if x.Tries != 1 || m.requests.Load()-before != 1 || x.Finished != x.Started {
					t.Errorf("%s %d: %d tries, %d requests, %s", op, status, x.Tries, m.requests.Load()-before, x.Finished.Sub(x.Started))
				}
			}
		})
	}
}

// Which idle connection a call takes, by how long it was idle.
func TestIdleConnections(t *testing.T) {
	for _, c := range []struct {
		op    invoicebox.Operation
		idle  time.Duration
		dials int64
	}{
		{invoicebox.Activate, 4 * time.Second, 1},
		{invoicebox.Activate, 4*time.Second + 1, 2},
		{invoicebox.Invite, 4 * time.Second, 1},
		{invoicebox.Invite, 4*time.Second + 1, 2},
		{invoicebox.CheckOwn, 59 * time.Second, 1},
		{invoicebox.CheckOwn, 61 * time.Second, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := &memory{handle: serveGood(c.op)}
			client, _ := newClient(t, options("http://127.0.0.1", m.transport()))
			for range 2 {
				if x := perform(t.Context(), client, c.op, invoicebox.CallOptions{}); x.Err != nil {
					t.Fatal(x.Err)
				}
				time.Sleep(c.idle)
			}
			if got := m.dials.Load(); got != c.dials {
				t.Errorf("%s after %s: %d dials, want %d", c.op, c.idle, got, c.dials)
			}
			// All of them are closed when nobody has used them for long.
			time.Sleep(2 * time.Minute)
			m.wait.Wait()
		})
	}
}

// Where one idle connection turns out to be dead, the others likely are too:
// the second try dials.
func TestSecondTryTakesANewConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		restarted := make(chan struct{})
		m := &memory{handle: func(s *served) {
			if s.number > 3 {
				serveGood(invoicebox.Activate)(s)
				return
			}
			s.request()
			time.Sleep(time.Second) // so that three connections are open at once
			s.say(answer(200, goodActivate))
			<-restarted
		}}
		client, _ := newClient(t, options("http://127.0.0.1", m.transport()))
		for range 3 {
			go perform(t.Context(), client, invoicebox.Activate, invoicebox.CallOptions{})
		}
		time.Sleep(2 * time.Second)
		close(restarted)
		synctest.Wait()
		x := perform(t.Context(), client, invoicebox.Activate, invoicebox.CallOptions{})
		if x.Err != nil || x.Tries != 2 || m.dials.Load() != 4 || m.requests.Load() != 4 {
			t.Errorf("%d tries, %d dials, %d requests, %v", x.Tries, m.dials.Load(), m.requests.Load(), x.Err)
		}
	})
}

// What comes after a response, or unasked, is never the response to another call.
func TestStrayBytes(t *testing.T) {
	stray := answer(200, strings.ReplaceAll(goodActivate, "ffffffff-", "00000000-"))
	for name, handle := range map[string]func(s *served){
		"in one write": func(s *served) {
			s.request()
			s.say(answer(200, goodActivate) + stray)
			s.hold()
		},
		"a body longer than said": func(s *served) {
			s.request()
			s.say(answer(200, goodActivate) + `,"token":"` + markedShopToken + `"}`)
			s.hold()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &memory{handle: handle}
				client, _ := newClient(t, options("http://127.0.0.1", m.transport()))
				for i := range int64(3) {
					x := perform(t.Context(), client, invoicebox.Activate, invoicebox.CallOptions{})
					a, err := invoicebox.ParseActivation(x)
					if err != nil || a.MerchantID != partnerID {
						t.Errorf("%v %v", a, err)
					}
					if m.dials.Load() != i+1 {
						t.Errorf("%d dials", m.dials.Load())
					}
				}
			})
		})
	}
}

func TestInterimAnswers(t *testing.T) {
	for n, status := range map[int]int{1: 200, 5: 200, 6: 0, 1000: 0} {
		synctest.Test(t, func(t *testing.T) {
			m := &memory{handle: func(s *served) {
				s.request()
				s.say(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", n) + answer(200, goodInvite))
			}}
			client, _ := newClient(t, options("http://127.0.0.1", m.transport()))
			if x := perform(t.Context(), client, invoicebox.Invite, invoicebox.CallOptions{}); x.Status != status {
				t.Errorf("%d interim responses: status %d, %v", n, x.Status, x.Err)
			}
		})
	}
}
