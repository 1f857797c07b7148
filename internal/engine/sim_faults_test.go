package engine

import "time"

// injectFault now and then does something bad instead of a step.
func (s *sim) injectFault() bool {
	now := time.Now()
	f := &s.faults
	if f.broken != "" && !now.Before(f.until) {
		f.broken = ""
		s.note("the journal is well again")
	}
	if f.store && !now.Before(f.storeTo) {
		f.store = false
	}
	if s.box.mood != "" && !now.Before(s.box.moodTo) {
		s.box.mood = ""
	}
	draw := s.rng.IntN(1000)
	within := s.within
	w := s.workers[s.rng.IntN(len(s.workers))]
	alive := w.back.IsZero() && !w.ended
	switch {
	case draw < 5 && alive:
		s.counts["crash"]++
		s.endProcess(w, "is killed", 100*time.Millisecond+within(3*time.Minute))
	case draw < 8 && alive:
		s.note("worker %d is told to stop", w.generation)
		s.counts["stop"]++
		w.stop()
	case draw < 24 && len(s.procs) > 0:
		p := s.procs[s.rng.IntN(len(s.procs))]
		if p.w == nil {
			return false
		}
		d := within(5 * time.Minute)
		s.note("%s is frozen for %v", p.name, d)
		s.counts["frozen task"]++
		p.frozen = now.Add(d)
	case draw < 27 && alive:
		d := within(6 * time.Minute)
		s.note("worker %d is frozen for %v", w.generation, d)
		s.counts["frozen worker"]++
		for _, p := range s.procs {
			if p.w == w {
				p.frozen = now.Add(d)
			}
		}
	case draw < 31 && f.broken == "":
		f.broken, f.until = []string{"down", "full", "slow"}[s.rng.IntN(3)], now.Add(within(2*time.Minute))
		s.note("the journal is %s for %v", f.broken, f.until.Sub(now))
		s.counts["journal "+f.broken]++
	case draw < 34:
		f.store, f.storeTo = true, now.Add(within(2*time.Minute))
		s.counts["store not ready"]++
	case draw < 38:
		s.box.mood = []string{"500", "503", "429", "unreachable", "403", "404 page", "408"}[s.rng.IntN(7)]
		s.box.moodTo = now.Add(within(5 * time.Minute))
		s.note("Invoicebox answers %s for %v", s.box.mood, s.box.moodTo.Sub(now))
		s.counts["mood "+s.box.mood]++
	case draw < 40:
		a := s.setup.accounts[s.rng.IntN(len(s.setup.accounts))]
		s.box.revoked[a] = !s.box.revoked[a]
		s.note("own token of %s refused: %v", a, s.box.revoked[a])
		s.counts["own token"]++
	case draw < 42:
		s.pass(within(3 * time.Minute))
	default:
		return false
	}
	return true
}
