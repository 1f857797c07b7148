package steps_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/journal/postgres"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/journal/steps"
	"invoicebox-worker/internal/testutil/pgtest"
)

// growing are the tables that grow with the work that was done.
var growing = []string{
	"attempt", "audit", "credential", "dead_letter", "event", "intent", "operation", "outbox", "shop",
}

// pending are the indexes that hold only what is not done yet.
var pending = []string{
	"credential_destroy", "dead_letter_due", "intent_waiting", "operation_attention", "operation_doubt", "operation_due", "operation_lane", "outbox_again", "outbox_waiting", "shop_refused", "shop_remind", "shop_review",
}

// walks are the queries that read a table that grows from one end to the other,
// and why they may.
func walks() map[string]string {
	reasons := map[string]string{
		"disconnectedSince": "once, at the end of a recovery",
		"publishedEnds":     "a recovery begins to read where the journal's knowledge ends, over all that was published",
		"countReviewEvents": "once, at the end of a recovery",
		"shopsAnnounced":    "once, at the end of a recovery",
		"shopsRaise":        "the floor is for all shops; once in a recovery",

		"lettersKept": "dead letters that keep their record are bounded",
		"auditRead":   "a list for people: it walks from the newest to the end of the page",
		"shopsList":   "a list for people: it walks from the newest to the end of the page",
		"auditLast":   "it reads one row, from the end",
		"detailsOf":   "an operator asks for it, and the writer does not wait",
	}
	for name := range steps.MadeQueries() {
		switch kind, _, _ := strings.Cut(name, " "); kind {
		case "rowsByKey":
			reasons[name] = "a person asks for it before a key is taken out of a keyset"
		case "filtered", "filteredIntents", "filteredLetters":
			reasons[name] = "a list for people: it walks from the newest to the end of the page"
		}
	}
	return reasons
}

// catalogue finds all constants of type Query in the sources, and those that are
// made at run time.
func catalogue(t *testing.T) map[string]steps.Query {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	type constant struct {
		typed bool
		value ast.Expr
	}
	constants := map[string]constant{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, s := range g.Specs {
				v, ok := s.(*ast.ValueSpec)
				if !ok || len(v.Values) != len(v.Names) {
					continue
				}
				typ, _ := v.Type.(*ast.Ident)
				for i, n := range v.Names {
					constants[n.Name] = constant{typ != nil && typ.Name == "Query", v.Values[i]}
				}
			}
		}
	}
	// text is a constant's value, and whether it is a Query.
	var text func(e ast.Expr) (value string, query, ok bool)
	text = func(e ast.Expr) (string, bool, bool) {
		switch e := e.(type) {
		case *ast.BasicLit:
			value, err := strconv.Unquote(e.Value)
			return value, false, err == nil && e.Kind == token.STRING
		case *ast.Ident:
			c, ok := constants[e.Name]
			if !ok {
				return "", false, false
			}
			value, query, ok := text(c.value)
			return value, query || c.typed, ok
		case *ast.BinaryExpr:
			a, aq, aok := text(e.X)
			b, bq, bok := text(e.Y)
			return a + b, aq || bq, aok && bok && e.Op == token.ADD
		}
		return "", false, false
	}
	queries := steps.MadeQueries()
	for name := range constants {
		value, query, ok := text(ast.NewIdent(name))
		switch {
		case query && !ok:
			t.Errorf("the value of %s cannot be found in the sources", name)
		case query:
			queries[name] = steps.Query(value)
		}
	}
	return queries
}

// check compares the tables that queries walk through with the list of exceptions.
func check(t *testing.T, explain func(name string, q steps.Query) (walked []string)) {
	t.Helper()
	reasons := walks()
	if len(explain("a walk", "SELECT id FROM operation WHERE changed < $1")) == 0 {
		t.Error("a walk through all operations is not noticed")
	}
	explained := 0
	queries := catalogue(t)
	for _, name := range slices.Sorted(maps.Keys(queries)) {
		walked := explain(name, queries[name])
		explained++
		if reasons[name] == "" && len(walked) > 0 {
			t.Errorf("%s walks through a table that grows:\n%s", name, strings.Join(walked, "\n"))
		}
	}
	if explained < 40 {
		t.Errorf("only %d queries were explained", explained)
	}
	t.Logf("%d queries", explained)
	for name := range reasons {
		if _, ok := queries[name]; !ok {
			t.Errorf("%s may walk through a table, and there is no such query", name)
		}
	}
}

// named finds tables and the names that a query gives them.
var named = regexp.MustCompile(`(?:FROM|JOIN|UPDATE|INTO|,) (` + strings.Join(growing, "|") + `)(?: (?:AS )?([a-z]\w*))?\b`)

func TestQueriesOnSQLite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.db")
	j, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Planner: journaltest.Plain})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	scan, number := regexp.MustCompile(`^SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?`), regexp.MustCompile(`\$(\d+)`)
	check(t, func(name string, q steps.Query) (walked []string) {
		text := q.SQLite()
		if strings.TrimSpace(text) == "" {
			return nil // only PostgreSQL runs it
		}
		tables := map[string]bool{}
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			tables[m[1]], tables[m[2]] = true, true
		}
		args := strings.Count(text, "?")
		for _, m := range number.FindAllStringSubmatch(text, -1) {
			n, _ := strconv.Atoi(m[1])
			args = max(args, n)
		}
		rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+text, make([]any, args)...)
		if err != nil {
			t.Errorf("%s: %v in\n%s", name, err, text)
			return nil
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			if m := scan.FindStringSubmatch(detail); len(m) > 2 && tables[m[1]] && !slices.Contains(pending, m[2]) {
				walked = append(walked, detail)
			}
		}
		if err := rows.Err(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return walked
	})
}

// A node of a plan of PostgreSQL.
type node struct {
	Type      string `json:"Node Type"`
	Relation  string `json:"Relation Name"`
	Index     string `json:"Index Name"`
	IndexCond string `json:"Index Cond"`
	Plans     []node `json:"Plans"`
}

// walked lists the tables that a plan reads from one end to the other.
func (n *node) walked() (list []string) {
	whole := n.Type == "Seq Scan" || strings.HasPrefix(n.Type, "Index") && n.IndexCond == "" && !slices.Contains(pending, n.Index)
	if whole && slices.Contains(growing, n.Relation) {
		list = append(list, fmt.Sprintf("%s on %s %s", n.Type, n.Relation, n.Index))
	}
	for i := range n.Plans {
		list = append(list, n.Plans[i].walked()...)
	}
	return list
}

func TestQueriesOnPostgreSQL(t *testing.T) {
	server := pgtest.Start(t)
	url := server.Database(t, "")
	j, err := postgres.Open(t.Context(), postgres.Options{URL: url, Planner: journaltest.Plain})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1) // it has the settings
	exec := func(text string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	// As the journal's own connections.
	exec("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
	explain := func(name string, q steps.Query) (n node) {
		if _, err := db.ExecContext(t.Context(), "PREPARE explained AS "+q.Postgres()); err != nil {
			t.Errorf("%s: %v in\n%s", name, err, q.Postgres())
			return n
		}
		defer exec("DEALLOCATE explained")
		var types string
		if err := db.QueryRowContext(t.Context(), "SELECT array_to_string(parameter_types, ' ') FROM pg_prepared_statements WHERE name = 'explained'").Scan(&types); err != nil {
			t.Fatal(err)
		}
		execute := "explained"
		if params := strings.Fields(types); len(params) > 0 {
			for i, typ := range params {
				// The server takes one that is first compared with a literal as a small one,
				// and refuses large numbers then.
				if typ == "integer" || typ == "smallint" {
					t.Errorf("%s: $%d is a small number", name, i+1)
				}
			}
			execute += "(NULL" + strings.Repeat(", NULL", len(params)-1) + ")"
		}
		var raw []byte
		if err := db.QueryRowContext(t.Context(), "EXPLAIN (FORMAT JSON) EXECUTE "+execute).Scan(&raw); err != nil {
			t.Errorf("%s: %v", name, err)
			return n
		}
		var explained []struct{ Plan node }
		if err := json.Unmarshal(raw, &explained); err != nil {
			t.Fatal(err)
		}
		return explained[0].Plan
	}
	check(t, func(name string, q steps.Query) []string {
		n := explain(name, q)
		return n.walked()
	})
}
