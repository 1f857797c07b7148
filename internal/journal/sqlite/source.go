package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/move"
	"invoicebox-worker/internal/journal/steps"
	"invoicebox-worker/internal/journal/stored"
)

// A Source is a journal that is moved to another database. It implements [move.Source]. It
// holds the file as a worker would. From Begin on no other process can write, commands
// beside the worker included.
type Source struct {
	j     *Journal
	c     *conn
	marks move.Marks
	held  bool // inside the transaction that prevents other writes
}

// OpenSource opens a journal to be moved, without a change to it. It returns the errors of
// [Open], [journal.ErrCopy] if a recovery is due, and an error if the tables are not of
// this version.
func OpenSource(ctx context.Context, o Options) (_ *Source, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	path, err := place(o.Path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j := &Journal{path: path, log: o.Logger, clock: newClock(o.Now), mark: o.Mark, boot: sinceBoot}
	if o.Mark != nil {
		j.boot = func() (string, int64) { return "", 0 }
	} else {
		j.mark = fileMark
	}
	if o.boot != nil {
		j.boot = o.boot
	}
	s := &Source{j: j}
	defer func() {
		if err != nil {
			_ = s.Close() // only the first error matters
		}
	}()
	if err := j.hold(); err != nil {
		return nil, explainOwner(path, err)
	}
	if err := j.checkPermissions(true); err != nil {
		return nil, err
	}
	if err := checkFile(path, true); err != nil {
		return nil, explainOwner(path, err)
	}
	if s.c, err = j.connect(); err != nil {
		return nil, explain(path, err)
	}
	j.writer = &writer{rows: newRowCache(), conn: s.c}
	if err := s.look(ctx); err != nil {
		return nil, explain(path, err)
	}
	return s, nil
}

// look reads the file's own records.
func (s *Source) look(ctx context.Context) error {
	if id, err := s.c.pragma("application_id"); err != nil || id != fmt.Sprint(applicationID) {
		return errors.Join(err, errors.New("it is not a journal"))
	}
	if err := s.j.refuseMissing(s.c); err != nil {
		return err
	}
	if err := s.version(ctx); err != nil {
		return err
	}
	facts, err := s.Facts(ctx)
	if err != nil {
		return err
	}
	if facts["copied"] != nil || facts["recovering"] != nil {
		return journal.ErrCopy
	}
	if s.marks.Identity, err = uuid.FromBytes(facts["identity"]); err != nil {
		return errors.New("the journal's identity is damaged")
	}
	if raw := facts[move.Moving]; raw != nil {
		if s.marks.Moving, err = uuid.ParseBytes(raw); err != nil {
			return errors.New("the journal's record of a move is damaged")
		}
	}
	if raw := facts[move.Moved]; raw != nil {
		m, err := move.ParseMoved(string(raw))
		if err != nil {
			return err
		}
		s.marks.Moved = &m
	}
	place := s.j.mark(s.j.path)
	s.marks.Doubt = facts["place"] != nil && string(facts["place"]) != place
	// loadMarks stores the clock, which only a worker that opens the file may do.
	if _, err := s.c.exec("BEGIN"); err != nil {
		return err
	}
	ahead, err := s.j.writer.setForward(s.j)
	s.marks.Doubt = s.marks.Doubt || ahead
	_, back := s.c.exec("ROLLBACK")
	return errors.Join(err, back)
}

func (s *Source) version(ctx context.Context) (err error) {
	db, err := sql.Open("sqlite", dsn(s.j.path, readerPragmas))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	have, want, err := versions(ctx, db)
	switch {
	case err != nil:
		return err
	case have > want:
		return journal.ErrNewer
	case have < want:
		return errors.New("the file is not a journal, or an older version of this program wrote it: start the worker once to migrate it")
	}
	return nil
}

// Marks returns the marks of moves that were begun.
func (s *Source) Marks() move.Marks { return s.marks }

// Facts reads table meta.
func (s *Source) Facts(context.Context) (map[string][]byte, error) {
	facts := make(map[string][]byte)
	err := s.c.each("SELECT name, value FROM meta", nil, func(r row) error {
		facts[r.text(0)] = stored.NotNull(r.blob(1))
		return nil
	})
	return facts, err
}

// Begin stores the id, and prevents other writes from then on.
func (s *Source) Begin(_ context.Context, id uuid.UUID) error {
	if err := within(s.c, func(c *conn) error {
		_, err := c.exec(steps.SetFact, move.Moving, []byte(id.String()))
		return err
	}); err != nil {
		return explain(s.j.path, err)
	}
	if _, err := s.c.exec("BEGIN IMMEDIATE"); err != nil {
		return explain(s.j.path, err)
	}
	s.held = true
	return nil
}

// Rows reads a table.
func (s *Source) Rows(ctx context.Context, t move.Table, after move.Row) iter.Seq2[move.Row, error] {
	keys := strings.Join(t.Columns[:t.Keys], ", ")
	query := "SELECT " + strings.Join(t.Columns, ", ") + " FROM " + t.Name
	if after != nil {
		query += " WHERE (" + keys + ") > (" + strings.TrimSuffix(strings.Repeat("?, ", t.Keys), ", ") + ")"
	}
	query += " ORDER BY " + keys
	return func(yield func(move.Row, error) bool) {
		err := s.c.each(query, in(after), func(r row) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !yield(r.values(), nil) {
				return steps.ErrStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, steps.ErrStop) {
			yield(nil, explain(s.j.path, err))
		}
	}
}

// Leave marks the journal as moved.
func (s *Source) Leave(_ context.Context, m move.MovedMark, audit journal.AuditEntry) error {
	if !s.held {
		return errors.New("journal: the move was not begun")
	}
	if _, err := s.c.exec("DELETE FROM meta WHERE name = ?", move.Moving); err != nil {
		return explain(s.j.path, err)
	}
	if _, err := s.c.exec(steps.SetFact, move.Moved, []byte(m.String())); err != nil {
		return explain(s.j.path, err)
	}
	if err := s.j.auditOn(s.c, audit); err != nil {
		return explain(s.j.path, err)
	}
	if _, err := s.c.exec("COMMIT"); err != nil {
		return explain(s.j.path, err)
	}
	s.held = false
	return nil
}

// Close releases the file. An interrupted move can be continued.
func (s *Source) Close() error {
	var err error
	if s.held {
		_, err = s.c.exec("ROLLBACK")
		s.held = false
	}
	return errors.Join(err, s.j.release())
}

// refuseMoved refuses a journal that was moved. A recovery may still begin with it: if the
// other database is lost, it is a copy of an earlier state.
func refuseMoved(c *conn) error {
	r, err := c.one("SELECT value FROM meta WHERE name = ?", move.Moved)
	if err != nil || r == nil {
		return err
	}
	return movedError(r.blob(0))
}

// movedError returns an error with the journal's new place, nil without a mark.
func movedError(mark []byte) error {
	if mark == nil {
		return nil
	}
	m, err := move.ParseMoved(string(mark))
	if err != nil {
		return err
	}
	return m.Err()
}

var _ move.Source = (*Source)(nil)
