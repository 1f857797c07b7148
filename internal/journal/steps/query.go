package steps

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// A Query is one statement in PostgreSQL's dialect. SQLite's text is derived from it,
// see [Query.SQLite]. If that is not possible, SQLite's own text follows a line
// "-- sqlite:".
//
// Queries are constants of this type, so that a test finds all of them in the sources
// and explains each on both databases.
type Query string

const sqliteMark = "\n-- sqlite:\n"

// Postgres returns the text for PostgreSQL.
func (q Query) Postgres() string {
	text, _, _ := strings.Cut(string(q), sqliteMark)
	return postgresHint.ReplaceAllString(text, "")
}

var (
	casts        = regexp.MustCompile(`::[a-z]+(\[\])?`)
	anyOf        = regexp.MustCompile(`= ANY\((\$\d+)\)`)
	rowLocks     = regexp.MustCompile(` FOR (NO KEY UPDATE|UPDATE|KEY SHARE|SHARE)( OF \w+)?( SKIP LOCKED)?`)
	indexHint    = regexp.MustCompile(`/\*\+ (INDEXED BY \w+) \*/`)
	postgresHint = regexp.MustCompile(` ?/\*\+ INDEXED BY \w+ \*/`)
	argument     = regexp.MustCompile(`\$\d+`)
	extremes     = strings.NewReplacer("greatest(", "max(", "least(", "min(")
)

// SQLite returns the text for SQLite. It drops casts and row locks, renames greatest
// and least, and turns "/*+ INDEXED BY x */" into a hint. Lists are passed as JSON
// (bytes in hex): "= ANY($1)" becomes "IN (SELECT value FROM json_each($1))".
func (q Query) SQLite() string {
	text, own, found := strings.Cut(string(q), sqliteMark)
	if found {
		return own
	}
	text = casts.ReplaceAllString(text, "")
	text = anyOf.ReplaceAllString(text, "IN (SELECT value FROM json_each($1))")
	text = rowLocks.ReplaceAllString(text, "")
	text = indexHint.ReplaceAllString(text, "$1")
	return inOrder(extremes.Replace(text))
}

// inOrder replaces "$1", "$2" … by "?" if each occurs once, in order, because SQLite's
// driver looks up numbered arguments by name.
func inOrder(text string) string {
	for i, n := range argument.FindAllString(text, -1) {
		if n != "$"+strconv.Itoa(i+1) {
			return text
		}
	}
	return argument.ReplaceAllLiteralString(text, "?")
}

// Texts caches the texts of queries for one database.
type Texts struct {
	Of   func(Query) string // returns the text to cache
	made sync.Map
}

// Text returns the text of a query.
func (t *Texts) Text(q Query) string {
	if text, ok := t.made.Load(q); ok {
		return text.(string) //nolint:forcetypeassert // nothing else is stored
	}
	text := t.Of(q)
	t.made.Store(q, text)
	return text
}
