package schema

import (
	"io/fs"
	"regexp"
	"testing"
)

func TestTranslate(t *testing.T) {
	for _, x := range []struct{ text, want string }{
		{"id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,", "id INTEGER PRIMARY KEY,"},
		{`name TEXT COLLATE "C" NOT NULL UNIQUE`, "name TEXT NOT NULL UNIQUE"},
		{"n BIGINT, b BYTEA", "n INTEGER, b BLOB"},
		{"    x BIGINT\n);\n", "    x INTEGER\n) STRICT;\n"},
		{"    x BIGINT\n) WITH (fillfactor = 70);\n", "    x INTEGER\n) STRICT;\n"},
		{"    PRIMARY KEY (x, y)\n); -- by key\n", "    PRIMARY KEY (x, y)\n) STRICT, WITHOUT ROWID;\n"},
		{"    PRIMARY KEY (x, y)\n) WITH (fillfactor = 50); -- by key\n", "    PRIMARY KEY (x, y)\n) STRICT, WITHOUT ROWID;\n"},
		{"CREATE INDEX i ON t (x) WHERE x > 0;", "CREATE INDEX i ON t (x) WHERE x > 0;"},
	} {
		if got := translate(x.text); got != x.want {
			t.Errorf("%q becomes %q, want %q", x.text, got, x.want)
		}
	}
}

func TestOnly(t *testing.T) {
	const text = "a\n-- +only postgres\nb\n-- +end\nc\n-- +only sqlite\nd\n-- +end\ne\n"
	for database, want := range map[string]string{"postgres": "a\nb\nc\ne\n", "sqlite": "a\nc\nd\ne\n"} {
		if got := only(database, text); got != want {
			t.Errorf("%s gets %q, want %q", database, got, want)
		}
	}
}

// Every section names a database and has an end, and SQLite's text has no word of
// PostgreSQL's that is to be translated.
func TestFiles(t *testing.T) {
	names, err := fs.Glob(texts, "*.sql")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	marks := regexp.MustCompile(`(?m)^-- \+(only|end).*$`)
	left := regexp.MustCompile(`BIGINT|BYTEA|COLLATE|IDENTITY|fillfactor|SEQUENCE|plpgsql`)
	for _, name := range names {
		text, err := fs.ReadFile(texts, name)
		if err != nil {
			t.Fatal(err)
		}
		open := false
		for _, mark := range marks.FindAllString(string(text), -1) {
			begins := mark == "-- +only postgres" || mark == "-- +only sqlite"
			if begins == open || !begins && mark != "-- +end" {
				t.Errorf("%s: %q is out of place", name, mark)
			}
			open = begins
		}
		if open {
			t.Errorf("%s: the last section has no end", name)
		}
		lite, err := fs.ReadFile(SQLite(), name)
		if err != nil {
			t.Fatal(err)
		}
		if word := left.Find(lite); word != nil {
			t.Errorf("%s: SQLite's text has %q", name, word)
		}
	}
}
