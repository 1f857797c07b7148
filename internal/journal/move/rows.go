package move

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A feed passes rows of the source to the target, a bounded number at a time.
type feed struct {
	t     Table
	times []int // the columns with times to be converted
	off   int64
	pull  func() (Row, error, bool)
	stop  func()

	head        Row // read, and not passed on yet
	rows, bytes int // of this transaction
	total       int64
}

func newFeed(ctx context.Context, from Source, t Table, after Row, offset int64) *feed {
	f := &feed{t: t, off: offset}
	for _, name := range t.Counted {
		f.times = append(f.times, slices.Index(t.Columns, name))
	}
	f.pull, f.stop = iter.Pull2(from.Rows(ctx, t, after))
	return f
}

// read returns the next row as the target stores it, nil at the end.
func (f *feed) read() (Row, error) {
	r, err, ok := f.pull()
	if err != nil || !ok {
		return nil, err
	}
	for i, v := range r {
		if s, ok := v.(string); ok && (!utf8.ValidString(s) || strings.ContainsRune(s, 0)) {
			return nil, fmt.Errorf("the text in column %s of the row with key %s cannot be stored by the target: it is not UTF-8 or holds a NUL byte", f.t.Columns[i], f.t.key(r))
		}
	}
	for _, i := range f.times {
		if at, ok := r[i].(int64); ok {
			r[i] = at + f.off
		}
	}
	return r, nil
}

// begin begins a transaction, if there is a row for it.
func (f *feed) begin() (more bool, err error) {
	f.rows, f.bytes = 0, 0
	if f.head == nil {
		f.head, err = f.read()
	}
	return f.head != nil, err
}

// next returns a row of the transaction, nil at its end.
func (f *feed) next() (Row, error) {
	if f.head == nil || f.rows == batchRows || f.bytes > batchBytes {
		return nil, nil
	}
	r := f.head
	f.rows++
	f.total++
	f.bytes += r.size()
	var err error
	f.head, err = f.read()
	return r, err
}

func (r Row) size() int {
	n := 8 * len(r)
	for _, v := range r {
		switch v := v.(type) {
		case string:
			n += len(v)
		case []byte:
			n += len(v)
		}
	}
	return n
}

// key formats a row's key for errors.
func (t Table) key(r Row) string {
	var parts []string
	for _, v := range r[:t.Keys] {
		switch v := v.(type) {
		case int64:
			parts = append(parts, strconv.FormatInt(v, 10))
		case []byte:
			parts = append(parts, hex.EncodeToString(v))
		}
	}
	return strings.Join(parts, "/")
}

// compare compares the rows of a table on both sides.
func (m *mover) compare(ctx context.Context, t Table) (n int64, err error) {
	f := newFeed(ctx, m.from, t, nil, m.state.Offset)
	defer f.stop()
	reported := m.o.Now()
	for got, err := range m.to.Rows(ctx, t, nil) {
		if err != nil {
			return n, fmt.Errorf("journal: compare table %s: %w", t.Name, err)
		}
		want, err := f.read()
		if err != nil {
			return n, fmt.Errorf("journal: compare table %s: %w", t.Name, err)
		}
		if want == nil {
			return n, &DifferenceError{t.Name, t.key(got), "the source does not have it"}
		}
		if err := t.same(want, got); err != nil {
			return n, err
		}
		n++
		if n%1000 == 0 {
			if err := ctx.Err(); err != nil {
				return n, err
			}
			if now := m.o.Now(); now.Sub(reported) > progressEvery {
				reported = now
				m.o.Progress(Progress{Comparing: true, Table: t.Name, Rows: n})
			}
		}
	}
	want, err := f.read()
	if err != nil {
		return n, fmt.Errorf("journal: compare table %s: %w", t.Name, err)
	}
	if want != nil {
		return n, &DifferenceError{t.Name, t.key(want), "the target does not have it"}
	}
	m.o.Progress(Progress{Comparing: true, Table: t.Name, Rows: n, Done: true})
	return n, nil
}

var errShape = errors.New("journal: a row has another number of columns")

// same compares the expected row with the stored one.
func (t Table) same(want, got Row) error {
	if len(want) != len(t.Columns) || len(got) != len(t.Columns) {
		return errShape
	}
	for i, name := range t.Columns {
		if equal(want[i], got[i]) {
			continue
		}
		if i >= t.Keys {
			return &DifferenceError{t.Name, t.key(want), "column " + name + " differs"}
		}
		return &DifferenceError{t.Name, t.key(want), "the target has " + t.key(got) + " in its place"}
	}
	return nil
}

func equal(a, b any) bool {
	switch a := a.(type) {
	case nil:
		return b == nil
	case int64:
		b, ok := b.(int64)
		return ok && a == b
	case string:
		b, ok := b.(string)
		return ok && a == b
	case []byte:
		b, ok := b.([]byte)
		return ok && bytes.Equal(a, b)
	}
	return false
}
