package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

// openJournal opens the journal for the service.
func openJournal(ctx context.Context, o *Options, planner journal.Planner, logger *slog.Logger) (journal.Journal, error) {
	at, err := journalAt(o.JournalURL)
	if err != nil {
		return nil, err
	}
	for _, words := range at.warnings() {
		logger.Warn("the journal is usable, but its location or connection is at risk", "journal", at.url, "warning", words)
	}
	_, reserve := o.reservedBytes()
	collectLess(at)
	j, err := at.open(ctx, openOptions{planner: planner, logger: logger, reserve: reserve, mark: o.Hooks.JournalMark})
	return j, at.explain(err)
}

// OpenReadOnly opens the journal for a command, while a service may be running. Only
// the audit trail and operator actions can be written.
func OpenReadOnly(ctx context.Context, url string, logger *slog.Logger) (journal.Journal, error) {
	at, err := journalAt(url)
	if err != nil {
		return nil, err
	}
	j, err := at.open(ctx, openOptions{logger: logger, readOnly: true})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, at.errNoJournal("`run` creates it")
	}
	return j, at.explain(err)
}

// keysetWord is the text that is sealed into a new journal. Every later start opens it,
// to check that the keyset is the one that the rows need.
const keysetWord = "invoicebox-worker keyset check 2"

// A keysetCheckStore stores the sealed text by which a keyset is recognized.
type keysetCheckStore interface {
	// KeysetCheck returns the stored text, nil if there is none.
	KeysetCheck(ctx context.Context) ([]byte, error)
	// SetKeysetCheck stores sealed, unless there is a text already.
	SetKeysetCheck(ctx context.Context, sealed []byte) error
}

// checkKeyset refuses a keyset that did not seal the journal's rows. A new journal
// stores the text of its keyset here.
func checkKeyset(ctx context.Context, identity uuid.UUID, j keysetCheckStore, keys *keyset.Set) error {
	kept, err := j.KeysetCheck(ctx)
	if err != nil {
		return fmt.Errorf("journal: read the keyset's check: %w", err)
	}
	if len(kept) > 0 {
		return opensCheck(identity, kept, keys)
	}
	sealed, err := keys.Seal([]byte(keysetWord), checkRow(identity))
	if err != nil {
		return err
	}
	if err := j.SetKeysetCheck(ctx, sealed); err != nil {
		return err
	}
	// Another replica may have been first, with another keyset.
	if kept, err = j.KeysetCheck(ctx); err != nil {
		return fmt.Errorf("journal: read the keyset's check: %w", err)
	}
	return opensCheck(identity, kept, keys)
}

// KeysetFits checks that a command's keyset is the one that the journal's rows need,
// and returns it bound to the journal. The error names the setting.
func KeysetFits(ctx context.Context, j journal.Journal, keys *keyset.Set) (*keyset.Set, error) {
	kept, err := j.KeysetCheck(ctx)
	if err != nil {
		return nil, fmt.Errorf("journal: read the keyset's check: %w", err)
	}
	if err := opensCheck(j.Identity(), kept, keys); err != nil {
		return nil, err
	}
	if err := checkKeys(ctx, j, keys); err != nil {
		return nil, err
	}
	return BindKeys(j, keys), nil
}

// BindKeys returns the keyset for the journal's rows. Values are bound to the first
// identity of the journal, because a recovery changes the identity and does not seal
// the values again.
func BindKeys(j journal.Journal, keys *keyset.Set) *keyset.Set { return keys.Bind(j.Origin().String()) }

// authenticate makes the journal store a MAC with each event.
func authenticate(j journal.Journal, keys *keyset.Set) {
	j.Authenticate(func(o journal.OutboxRow) ([]byte, error) {
		return keys.Authenticate(keyset.DomainOutbox, o.Authentic()...)
	})
}

// authentic returns a function that checks the MAC of an event.
func authentic(keys *keyset.Set) func(journal.OutboxRow) error {
	return func(o journal.OutboxRow) error { return keys.Verify(o.MAC, keyset.DomainOutbox, o.Authentic()...) }
}

// JournalIsSealed reports whether there is a journal whose rows need an existing
// keyset. A journal that cannot be opened counts as one.
func JournalIsSealed(ctx context.Context, url string) bool {
	at, err := journalAt(url)
	if err != nil {
		return false
	}
	j, err := at.open(ctx, openOptions{readOnly: true})
	if err != nil {
		return at.path != "" && at.exists(ctx)
	}
	defer func() { _ = j.Close() }()
	kept, err := j.KeysetCheck(ctx)
	return err != nil || len(kept) > 0
}

func opensCheck(identity uuid.UUID, kept []byte, keys *keyset.Set) error {
	if text, err := keys.Open(kept, checkRow(identity)); err != nil || string(text) != keysetWord {
		return &config.Error{Setting: "keyset-file", Want: "the keyset does not fit the journal, which was sealed with another one: restore your copy of that keyset. A new keyset cannot open the journal's values"}
	}
	return nil
}

func checkRow(identity uuid.UUID) string { return keyset.CheckAAD(identity.String()) }

// A writeProbe checks whether the journal can be written: it writes the stored text of
// the keyset again. A result is valid for a few seconds.
type writeProbe struct {
	journal keysetCheckStore
	now     func() time.Time
	short   func() string                             // the space that calls lack on the disk; nil: not checked
	waits   func(ctx context.Context) (string, error) // what a write waits for; nil: not known

	mu    sync.Mutex
	tried time.Time
	err   error
	why   string
}

const (
	probeFor    = 5 * time.Second
	waitsWithin = time.Second
)

func newWriteProbe(j keysetCheckStore) *writeProbe {
	return &writeProbe{journal: j, now: time.Now}
}

// newJournalProbe returns the probe of an open journal; beneath is the journal without the
// wrapper of tests.
func newJournalProbe(o *Options, j keysetCheckStore, beneath journal.Journal) *writeProbe {
	p := newWriteProbe(j)
	if w, ok := beneath.(interface {
		Waits(ctx context.Context) (string, error)
	}); ok {
		p.waits = w.Waits
	}
	if at, err := journalAt(o.JournalURL); err == nil {
		p.short = func() string { return at.lowSpaceForCalls(o) }
	}
	return p
}

// ready reports the journal for /readyz.
func (p *writeProbe) ready(ctx context.Context) (bool, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if age := p.now().Sub(p.tried); p.tried.IsZero() || age < 0 || age >= probeFor {
		var kept []byte
		if kept, p.err = p.journal.KeysetCheck(ctx); p.err == nil {
			p.err = p.journal.SetKeysetCheck(ctx, kept)
		}
		p.why = ""
		if errors.Is(p.err, context.DeadlineExceeded) && p.waits != nil {
			// A context of its own, because the write has used up the time of ctx.
			asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), waitsWithin)
			p.why, _ = p.waits(asking) // "" if the server does not answer either
			cancel()
		}
		p.tried = p.now()
	}
	switch {
	case p.why != "":
		return false, "cannot be written: " + p.why
	case errors.Is(p.err, journal.ErrUnreachable):
		return false, "cannot be reached; all work waits, and resumes when it can be reached"
	case errors.Is(p.err, journal.ErrCopy):
		return false, "lacks the last commits, because its database was replaced by an older one: stop all workers and use `journal recover`"
	case errors.Is(p.err, journal.ErrNewer):
		return false, "was changed by a newer version that this one cannot work beside: replace this one"
	case errors.Is(p.err, journal.ErrFull):
		return false, "cannot be written: its disk is full; all work waits, and resumes when there is space"
	case errors.Is(p.err, journal.ErrReplaced):
		return false, "cannot be written: its file, or the -wal, -shm or .lock beside it, was moved, removed or replaced; put it back, or stop the worker: it then saves what it can"
	case errors.Is(p.err, journal.ErrDisk):
		return false, "cannot be written: its disk fails"
	case p.err != nil:
		return false, "cannot be written"
	}
	if p.short != nil {
		if short := p.short(); short != "" {
			return false, "nothing is sent: " + short
		}
	}
	return true, "can be written"
}

// collectLess makes garbage collections rarer with PostgreSQL, unless GOGC is set. The worker
// then keeps no pages of a database in its memory, so it stays smaller than with SQLite
// although the heap grows more between two collections. docs/performance.md has the figures.
func collectLess(at database) {
	const percent = 200
	if at.path == "" && os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}
