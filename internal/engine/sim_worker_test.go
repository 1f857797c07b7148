package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/onboarding"
)

// A simWorker is a worker process: a real engine, whose dispatcher and tasks are
// procs. With replicas two of them share the journal, as over PostgreSQL.
type simWorker struct {
	s          *sim
	slot       int
	generation int
	engine     *Engine
	pruner     *Pruner
	phases     phases
	stop       context.CancelFunc
	cut        context.CancelFunc
	giveUp     context.CancelFunc
	changed    bool
	ended      bool      // drained
	writing    bool      // its breakers are being written
	stopped    bool      // they are not any more
	back       time.Time // a dead one: when the next process starts in its place
}

// simTopicName is the input of the simulation; one partition for each account.
const simTopicName = "simulation.input"

var errSimulated = errors.New("input/output error")

// openJournal opens the file as a new process would.
func (s *sim) openJournal() {
	j, err := sqlite.Open(context.Background(), sqlite.Options{
		Path: s.path, Planner: s.model.planner(onboarding.NewPlanner(onboarding.PlannerOptions{CoolDown: s.setup.coolDown, Now: time.Now})), Mark: func(string) string { return "the file" },
	})
	if err != nil {
		s.t.Fatalf("open the journal: %v", err)
	}
	s.j = j
	s.model.opened()
	ctx := context.Background()
	var begin []journal.Position
	for i, a := range s.setup.accounts {
		if err := j.EnsureAccount(ctx, a, fmt.Sprint("partner-", a)); err != nil {
			s.t.Fatal(err)
		}
		begin = append(begin, journal.Position{Topic: simTopicName, Partition: i})
	}
	if err := j.InitPositions(ctx, begin); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sim) closeJournal() {
	if err := s.j.Close(); err != nil {
		s.t.Fatalf("close the journal: %v", err)
	}
}

// simTimes are the stored times that a worker's own clock gave.
var simTimes = map[string][]string{
	"operation":      {"due_at", "planned", "changed", "stored_at", "verified", "check_from"},
	"attempt":        {"started", "send_by", "deadline", "ended", "counts_from", "answer_at"},
	"shop":           {"invited_at", "active_at", "disconnected_at", "remind_due", "review_due", "review_refused"},
	"account":        {"circuit_until", "circuit_since", "open_since"},
	"credential":     {"created", "destroy_at", "destroyed"},
	"intent":         {"at", "ended"},
	"outbox":         {"created", "published_at"},
	"outbox_pending": {"since"},
}

// stepClock is a step of the machine's clock between two processes. A bubble's
// clock has no wall of its own that could be moved, so what lies in the file
// moves the other way.
func (s *sim) stepClock(by time.Duration) {
	db, err := sql.Open("sqlite", "file:"+s.path+"?_pragma=synchronous(0)")
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, table := range slices.Sorted(maps.Keys(simTimes)) {
		var set []string
		for _, c := range simTimes[table] {
			set = append(set, fmt.Sprintf("%s = %s - %d", c, c, by.Microseconds()))
		}
		if _, err := db.Exec("UPDATE " + table + " SET " + strings.Join(set, ", ")); err != nil {
			s.t.Fatal(err)
		}
	}
	if by > 0 {
		s.box.forgotten = time.Now()
		clear(s.box.counted)
	}
	s.note("the clock is stepped by %v", by)
	s.counts["clock step"]++
}

// startWorker starts a process.
func (s *sim) startWorker(slot int) {
	s.lastGen++
	w := &simWorker{s: s, slot: slot, generation: s.lastGen}
	cfg := s.setup.config
	j := &simJournal{Journal: s.j, s: s, w: w}
	cfg.Journal, cfg.Keys, cfg.Credentials = j, s.keys, &simStore{s: s}
	cfg.Owner = fmt.Sprint("w", w.generation)
	for _, a := range s.setup.accounts {
		cfg.Accounts = append(cfg.Accounts, Account{
			Name: a, Client: &simClient{s: s, w: w, account: a}, Requests: s.setup.requests, Window: s.setup.window,
		})
	}
	pool, err := New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	pruner, err := NewPruner(PrunerConfig{Journal: j, Retention: RetainForever, DeadLetterRetention: RetainForever})
	if err != nil {
		s.t.Fatal(err)
	}
	w.engine, pool.scheduler = pool, simScheduler{s: s, w: w}
	w.pruner, pruner.scheduler = pruner, pool.scheduler
	var run, calls, work context.Context
	run, w.stop = context.WithCancel(context.Background())
	calls, w.cut = context.WithCancel(context.Background())
	work, w.giveUp = context.WithCancel(context.Background())
	w.phases = phases{accept: run, calls: calls, writes: work}
	s.workers[slot] = w
	s.note("worker %d starts in place %d", w.generation, slot)
	s.spawn(w, fmt.Sprintf("dispatch%d", w.generation), w.main)
	if slot == 0 {
		s.inputs.start(w)
		s.topic.start(w)
	}
}

func (w *simWorker) sleep(d time.Duration) bool {
	return simScheduler{w.s, w}.sleep(w.phases.accept, d)
}

// main is Engine.Run with procs for goroutines.
func (w *simWorker) main() {
	s, p := w.s, w.engine
	for p.loadBreakers(w.phases.accept) != nil {
		if !w.sleep(time.Second) {
			break
		}
	}
	s.spawn(w, fmt.Sprintf("circuit breakers%d", w.generation), w.writeCircuits)
	s.spawn(w, fmt.Sprintf("prune%d", w.generation), w.prune)
	s.spawn(w, fmt.Sprintf("shops%d", w.generation), func() { p.dueShopWork(w.phases.accept) })
	if w.slot == 0 {
		s.spawn(w, fmt.Sprintf("operate%d", w.generation), w.operate)
	}
	var b dispatchState
	var next time.Time
	for {
		s.block(next, func() bool {
			return next.IsZero() || w.changed || len(p.wake) > 0 || w.phases.draining()
		})
		if w.phases.draining() {
			break
		}
		if w.changed {
			b.journalChanged()
		}
		w.changed = false
		select {
		case <-p.wake:
		default:
		}
		var err error
		if next, err = p.tick(w.phases, &b); err != nil {
			break
		}
	}
	w.drain()
}

// prune is Pruner.Run with shorter waits.
func (w *simWorker) prune() {
	w.pruner.workedSince = time.Now()
	for w.sleep(30 * time.Second / w.s.setup.scale) {
		_, _ = w.pruner.pass(w.phases.accept) // it continues after an error
	}
}

// writeCircuits is Engine.writeCircuits.
func (w *simWorker) writeCircuits() {
	for {
		w.s.block(time.Time{}, func() bool { return len(w.engine.breakers.Changes()) > 0 })
		if w.stopped {
			return // Run has ended its writer, and writes them itself
		}
		<-w.engine.breakers.Changes()
		for again := true; again; {
			w.writing = true
			again = !w.engine.breakers.Flush(w.phases.writes)
			w.writing = false
			if w.stopped || again && !(simScheduler{w.s, w}).sleep(w.phases.writes, time.Second) {
				return
			}
		}
	}
}

// drain is Engine.drain.
func (w *simWorker) drain() {
	s := w.s
	none := func() bool {
		for _, p := range s.procs {
			if p.w == w && p.task {
				return false
			}
		}
		return true
	}
	s.note("drains")
	s.block(time.Now().Add(w.engine.cfg.DrainTime), none)
	if !none() {
		w.cut()
		s.block(time.Now().Add(drainGrace), none)
	}
	if !none() {
		w.giveUp()
		s.block(time.Time{}, none)
	}
	w.stopped = true
	s.block(time.Time{}, func() bool { return !w.writing })
	w.engine.breakers.Flush(w.phases.writes)
	w.ended = true
}

// signal hands the journal's one signal to every worker.
func (s *sim) signal() {
	if s.j == nil {
		return
	}
	select {
	case <-s.j.Changed():
		for _, w := range s.workers {
			w.changed = true
		}
	default:
	}
	select {
	case <-s.j.OutboxChanged():
		s.topic.wait = false
	default:
	}
}

// endProcess ends a process: killed, or drained and gone.
func (s *sim) endProcess(w *simWorker, why string, down time.Duration) {
	s.note("worker %d %s; the next in %v", w.generation, why, down)
	s.kill(func(p *proc) bool { return p.w == w })
	w.stop()
	w.cut()
	w.giveUp()
	s.box.hangUp(w)
	w.back = time.Now().Add(down)
	if len(s.workers) > 1 {
		return // the others go on over the same journal
	}
	s.closeJournal()
	s.j = nil
}

// revive starts processes whose time has come.
func (s *sim) revive() bool {
	for slot, w := range s.workers {
		switch {
		case w.ended && w.back.IsZero():
			s.endProcess(w, "is gone", time.Second)
			return true
		case !w.back.IsZero() && !time.Now().Before(w.back):
			if s.j == nil {
				if s.faults.on && s.rng.IntN(3) == 0 {
					s.stepClock([]time.Duration{-20 * time.Minute, -45 * time.Second, 45 * time.Second, time.Hour}[s.rng.IntN(4)] / s.setup.scale)
				}
				s.openJournal()
			}
			s.startWorker(slot)
			return true
		}
	}
	return false
}

// nextEvent is when the world does something by itself.
func (s *sim) nextEvent() (next time.Time) {
	for _, w := range s.workers {
		if !w.back.IsZero() {
			next = minTime(next, w.back)
		}
	}
	return next
}
