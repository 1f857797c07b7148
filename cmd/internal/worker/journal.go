package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/keyset"
)

// JournalPath gives the file that a journal-url names.
func JournalPath(url string) (string, error) {
	path, ok := strings.CutPrefix(url, "sqlite:")
	if !ok || path == "" {
		return "", &SettingError{Setting: "journal-url", Value: url, Right: "must be sqlite: and the path of a file"}
	}
	return path, nil
}

// openJournal opens the journal for the service.
func openJournal(ctx context.Context, o *Options, planner journal.Planner, logger *slog.Logger) (*sqlite.Journal, error) {
	path, err := JournalPath(o.JournalURL)
	if err != nil {
		return nil, err
	}
	_, reserve := o.reserves()
	j, err := sqlite.Open(ctx, sqlite.Options{Path: path, Planner: planner, Logger: logger, Reserve: reserve, Mark: o.Seams.JournalMark})
	return j, explainJournal(o.JournalURL, err)
}

// OpenBeside opens the journal for a command: to be read, beside a service that
// may be running. Only the audit trail and what people ask for can be written.
func OpenBeside(ctx context.Context, url string, logger *slog.Logger) (journal.Journal, error) {
	path, err := JournalPath(url)
	if err != nil {
		return nil, err
	}
	j, err := sqlite.Open(ctx, sqlite.Options{Path: path, Logger: logger, ReadOnly: true})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &SettingError{Setting: "journal-url", Value: url, Right: "there is no journal; `run` makes it"}
	}
	if err != nil {
		return nil, explainJournal(url, err)
	}
	return j, nil
}

// explainJournal says what to do about a journal that cannot be opened.
func explainJournal(url string, err error) error {
	var do string
	switch {
	case err == nil:
		return nil
	case errors.Is(err, journal.ErrHeld):
		do = "another worker runs with it; stop that one, or give this one a journal and a group of its own"
	case errors.Is(err, journal.ErrCopy):
		do = "stop every worker that may still have the newer one, then go on with `invoicebox-worker journal recover`"
	case errors.Is(err, journal.ErrNewer):
		do = "use the version that wrote it, or a newer one"
	case errors.Is(err, fs.ErrPermission):
		do = "the user of this process must be able to write the file and its folder"
	case errors.Is(err, fs.ErrNotExist):
		do = "make the folder first"
	default:
		do = "it must be a file on a disk of this machine"
	}
	return &SettingError{Setting: "journal-url", Value: url, Right: fmt.Sprintf("%v; %s", err, do)}
}

// keysetWord is what is sealed into a new journal, to tell on every later start
// whether the keyset is the one that its rows need.
const keysetWord = "invoicebox-worker keyset check"

// A checkKeeper keeps the one sealed text by which a keyset is recognised.
type checkKeeper interface {
	// KeysetCheck returns what was kept, nil where nothing was.
	KeysetCheck(ctx context.Context) ([]byte, error)
	// SetKeysetCheck keeps sealed.
	SetKeysetCheck(ctx context.Context, sealed []byte) error
}

// checkKeyset refuses a keyset that did not seal what lies in the journal. A
// journal that is new learns its keyset here.
func checkKeyset(ctx context.Context, identity uuid.UUID, j checkKeeper, keys *keyset.Set) error {
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
	return j.SetKeysetCheck(ctx, sealed)
}

// KeysetFits tells whether a command's keyset is the one that the journal's rows
// need; the error names the setting.
func KeysetFits(ctx context.Context, j journal.Journal, keys *keyset.Set) error {
	kept, err := j.KeysetCheck(ctx)
	if err != nil {
		return fmt.Errorf("journal: read the keyset's check: %w", err)
	}
	return opensCheck(j.Identity(), kept, keys)
}

func opensCheck(identity uuid.UUID, kept []byte, keys *keyset.Set) error {
	if text, err := keys.Open(kept, checkRow(identity)); err != nil || string(text) != keysetWord {
		return &SettingError{Setting: "keyset-file", Right: "the keyset does not fit the journal: what lies in it was sealed with another one; give that one, or start with a new journal"}
	}
	return nil
}

func checkRow(identity uuid.UUID) string { return keyset.Row("check", identity.String()) }

// A writeProbe tells whether the journal can be written, by writing what it
// holds already: the keyset's check. What is found is good for a few seconds.
type writeProbe struct {
	journal checkKeeper
	now     func() time.Time

	mu    sync.Mutex
	tried time.Time
	err   error
}

const probeFor = 5 * time.Second

func newWriteProbe(j checkKeeper) *writeProbe {
	return &writeProbe{journal: j, now: time.Now}
}

// ready is the journal's word for /readyz.
func (p *writeProbe) ready(ctx context.Context) (bool, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if age := p.now().Sub(p.tried); p.tried.IsZero() || age < 0 || age >= probeFor {
		var kept []byte
		if kept, p.err = p.journal.KeysetCheck(ctx); p.err == nil {
			p.err = p.journal.SetKeysetCheck(ctx, kept)
		}
		p.tried = p.now()
	}
	switch {
	case errors.Is(p.err, journal.ErrFull):
		return false, "cannot be written: its disk is full; all waits, and goes on by itself when there is room"
	case errors.Is(p.err, journal.ErrDisk):
		return false, "cannot be written: its disk fails"
	case p.err != nil:
		return false, "cannot be written"
	}
	return true, "can be written"
}
