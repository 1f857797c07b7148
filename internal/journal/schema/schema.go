// Package schema holds the migrations of the journal's tables, written once for
// both databases.
//
// The migrations are written in PostgreSQL's dialect. SQLite's text is derived from
// it by these replacements:
//
//	BIGINT GENERATED ALWAYS AS IDENTITY   INTEGER
//	BIGINT                                INTEGER
//	BYTEA                                 BLOB
//	COLLATE "C"                           dropped: SQLite compares bytes
//	) WITH (fillfactor = 50);             ) STRICT;
//	); -- by key                          ) STRICT, WITHOUT ROWID;
//
// A section that only one database needs begins with a line "-- +only postgres" or
// "-- +only sqlite" and ends with a line "-- +end". A table, column or index that
// both databases need stands outside of sections, so that it is the same on both.
package schema

import (
	"embed"
	"errors"
	"io"
	"io/fs"
	"regexp"
	"strings"
)

// ErrUnreleased reports tables of a build from before the first release. No
// migration converts them.
var ErrUnreleased = errors.New("its tables were created by a build from before the first release and cannot be migrated: move it away and let the worker create a new journal")

//go:embed *.sql
var texts embed.FS

// PostgreSQL returns the migrations for PostgreSQL.
func PostgreSQL() fs.FS {
	return migrations{texts, func(text string) string { return only("postgres", text) }}
}

// SQLite returns the migrations for SQLite.
func SQLite() fs.FS {
	return migrations{texts, func(text string) string { return translate(only("sqlite", text)) }}
}

var words = strings.NewReplacer(
	"BIGINT GENERATED ALWAYS AS IDENTITY", "INTEGER",
	"BIGINT", "INTEGER",
	"BYTEA", "BLOB",
	` COLLATE "C"`, "",
)

var (
	byKey    = regexp.MustCompile(`(?m)^\)( WITH \(fillfactor = \d+\))?; -- by key$`)
	tableEnd = regexp.MustCompile(`(?m)^\)( WITH \(fillfactor = \d+\))?;$`)
)

// translate returns SQLite's text for PostgreSQL's.
func translate(text string) string {
	text = words.Replace(text)
	text = byKey.ReplaceAllLiteralString(text, ") STRICT, WITHOUT ROWID;")
	return tableEnd.ReplaceAllLiteralString(text, ") STRICT;")
}

// only drops the sections for other databases.
func only(database, text string) string {
	var kept strings.Builder
	section := ""
	for line := range strings.Lines(text) {
		name, begins := strings.CutPrefix(line, "-- +only ")
		switch {
		case begins:
			section = strings.TrimSpace(name)
		case strings.TrimSpace(line) == "-- +end":
			section = ""
		case section == "" || section == database:
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// migrations are files whose text is converted when it is read.
type migrations struct {
	files  embed.FS
	change func(string) string
}

// Open opens a file or the directory.
func (m migrations) Open(name string) (fs.File, error) {
	f, err := m.files.Open(name)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || info.IsDir() {
		return f, err
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	return migration{f, strings.NewReader(m.change(string(text)))}, nil
}

type migration struct {
	fs.File
	text io.Reader
}

func (m migration) Read(b []byte) (int, error) { return m.text.Read(b) }
