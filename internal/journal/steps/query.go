package steps

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// A Query is one statement, written once in PostgreSQL's words. SQLite's text is
// made of it, see [Query.SQLite]. Where that cannot be, a line "-- sqlite:" is
// followed by SQLite's own text.
//
// Queries are constants of this type: a test finds all of them in the sources and
// has both databases explain each.
type Query string

const sqliteMark = "\n-- sqlite:\n"

// Postgres is the text for PostgreSQL.
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

// SQLite is the text for SQLite: without casts and row locks, with its names of
// greatest and least, with "/*+ INDEXED BY x */" as a hint, and with lists in JSON,
// bytes in hex, so that "= ANY($1)" becomes "IN (SELECT value FROM json_each($1))".
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

// inOrder leaves the numbers of arguments out where each stands once, in order:
// SQLite's driver finds numbered ones by their names.
func inOrder(text string) string {
	for i, n := range argument.FindAllString(text, -1) {
		if n != "$"+strconv.Itoa(i+1) {
			return text
		}
	}
	return argument.ReplaceAllLiteralString(text, "?")
}

// Texts keeps the texts of queries for one database.
type Texts struct {
	Of   func(Query) string // makes one
	made sync.Map
}

// Text is the text of a query.
func (t *Texts) Text(q Query) string {
	if text, ok := t.made.Load(q); ok {
		return text.(string) //nolint:forcetypeassert // nothing else is stored
	}
	text := t.Of(q)
	t.made.Store(q, text)
	return text
}
