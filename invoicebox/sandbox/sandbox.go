package sandbox

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// A Sandbox is one simulated Invoicebox. It is safe for concurrent use and has
// nothing to close: it holds no file, no goroutine and no connection of its own.
type Sandbox struct {
	options    Options
	seed       seed
	temper     profileConfig
	countAt    CountAt
	rateFaults []*fault // of temper.rates, in the same order
	state      atomic.Pointer[state]
}

// New makes a sandbox. The error names the setting that is wrong and never a
// token.
func New(o Options) (*Sandbox, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Sandbox{options: o, seed: seed(o.Seed), temper: tempers[o.Profile], countAt: o.CountAt}
	if s.countAt == "" && s.temper.draws {
		s.countAt = CountBetween
	}
	for _, r := range s.temper.rates {
		s.rateFaults = append(s.rateFaults, faultByWord(r.word))
	}
	s.Reset()
	return s, nil
}

// Reset forgets everything that happened since the start, planted codes and
// responses included. Requests that are under way end in the state that they began in.
func (s *Sandbox) Reset() { s.state.Store(newState(s.options)) }

// Seed is where all chance of this sandbox comes from.
func (s *Sandbox) Seed() uint64 { return uint64(s.seed) }

// Accounts returns the accounts that may call the API.
func (s *Sandbox) Accounts() []Account { return append([]Account(nil), s.options.Accounts...) }

// MerchantOf is the merchant id that a code leads to, used yet or not.
func (s *Sandbox) MerchantOf(code string) string {
	st := s.state.Load()
	st.mu.Lock()
	defer st.mu.Unlock()
	if sub := st.subjects[kindOf(Activate)][code]; sub != nil && sub.code.merchantID != "" {
		return sub.code.merchantID
	}
	f := faultOf(Activate, code)
	return s.merchantOf(code, f.fault != nil && f.shape.variant == sameMerchant)
}

// TokenOf is the shop's token that a code leads to, used yet or not.
func (s *Sandbox) TokenOf(code string) string {
	st := s.state.Load()
	st.mu.Lock()
	defer st.mu.Unlock()
	if sub := st.subjects[kindOf(Activate)][code]; sub != nil && sub.code.token != "" {
		return sub.code.token
	}
	return s.seed.token(code, s.options.Profile)
}

// API returns the API. It wants a server that speaks HTTP/1.1: connections are
// cut by panicking with http.ErrAbortHandler, and reset by hijacking them.
func (s *Sandbox) API() http.Handler { return http.HandlerFunc(s.serve) }

// serve plays one request: it arrives, is counted, has its effect, is answered.
// Where a wait ends because the client, or the server, goes away, the handler
// panics as a cut does: returning would send an empty 200.
func (s *Sandbox) serve(w http.ResponseWriter, r *http.Request) {
	ex := s.read(r)
	s.arrive(ex)
	w.Header()["X-Request-Id"] = []string{s.seed.requestID(ex.number)}

	toCount := time.Duration(float64(ex.lot.latency) * ex.lot.countShare)
	if !sleep(r.Context(), toCount) {
		s.continueDetached(ex, toCount, s.countLate)
		panic(http.ErrAbortHandler)
	}
	a, refused := s.count(ex)
	if !refused {
		if !sleep(r.Context(), ex.lot.latency-toCount) {
			s.continueDetached(ex, ex.lot.latency, s.executeLate)
			panic(http.ErrAbortHandler)
		}
		a = s.execute(ex)
	}
	if a.delay > 0 && !sleep(r.Context(), a.delay) {
		s.finish(ex, a, 0)
		panic(http.ErrAbortHandler)
	}
	// Noted before the last byte leaves, so that whoever has the response finds
	// it in the log, and a request that follows it is no overlap.
	a.send(r.Context(), w, func() { s.finish(ex, a, a.sentStatus()) })
}

// continueDetached goes on with a request whose client has gone: the server knows nothing
// of that, so what was to happen so long after its arrival happens all the same.
func (s *Sandbox) continueDetached(ex *exchange, after time.Duration, then func(*exchange)) {
	spent := time.Duration(ex.state.now() - ex.arrived)
	time.AfterFunc(max(after-spent, 0), func() { then(ex) })
}

func (s *Sandbox) countLate(ex *exchange) {
	if a, refused := s.count(ex); refused {
		s.finish(ex, a, 0)
		return
	}
	s.continueDetached(ex, ex.lot.latency, s.executeLate)
}

func (s *Sandbox) executeLate(ex *exchange) { s.finish(ex, s.execute(ex), 0) }

// sleep waits; false: the client, or the server, has gone before.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
