package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// privateNames are words that names must not contain, with the field's words for what they were used for.
var privateNames = map[string]string{
	"anew": "recreated", "anothers": "foreign", "beat": "tick", "beats": "dispatch state", "besides": "suffixes", "buried": "ended", "bury": "end", "cards": "partitions", "contenders": "ready accounts",
	"deal": "assign", "diary": "recorder", "doctable": "golden", "ears": "recorder", "effort": "backoff",
	"forgettable": "prune target", "forgetter": "pruner", "gate": "circuit breaker", "gates": "circuit breakers",
	"ghosts": "dead workers", "grant": "lease", "hand": "member", "hungry": "capacity exhausted", "kafkaconn": "kafka",
	"mischief": "faults", "owed": "missed", "seams": "hooks", "stranger": "foreign", "strangers": "foreign",
	"suspicion": "stalled since", "tally": "statistics", "teeth": "mutants", "tooth": "mutant", "unsend": "cancel",
	"unsound": "unchecked", "untold": "unreported", "unwell": "degraded", "withhold": "suppress",
}

// privatePhrases are words that messages, help and documents must not contain.
var privatePhrases = map[string]string{
	"anew": "again, recreated", "hungry": "waiting", "mischief": "fault", "whilst": "while", "gate": "circuit breaker",
	"forgets": "prunes", "forgotten": "pruned", "beheld": "seen", "thereof": "of it", "hence": "so", "aught": "anything", "save for": "except",
}

// Names and texts use the words of docs/glossary.md.
func TestWords(t *testing.T) {
	phrase := regexp.MustCompile(`(?i)\b(` + strings.Join(slices.Sorted(maps.Keys(privatePhrases)), "|") + `)\b`)
	err := filepath.WalkDir(repository, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if entry.Name() == "testdata" || strings.HasPrefix(entry.Name(), ".") && path != repository {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || entry.Name() == "words_test.go" {
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		seen := map[string]bool{}
		ast.Inspect(file, func(node ast.Node) bool {
			switch n := node.(type) {
			case *ast.SelectorExpr: // another package's or type's name, which is looked at where it is declared
				ast.Inspect(n.X, func(ast.Node) bool { return true })
			case *ast.Ident:
				for _, word := range nameWords(n.Name) {
					if instead, private := privateNames[word]; private && !seen[n.Name] {
						seen[n.Name] = true
						t.Errorf("%s: the name %s: say %s instead of %s", files.Position(n.Pos()), n.Name, instead, word)
					}
				}
			case *ast.BasicLit:
				if found := phrase.FindString(n.Value); n.Kind == token.STRING && !strings.HasSuffix(path, "_test.go") && found != "" {
					t.Errorf("%s: say %s instead of %s", files.Position(n.Pos()), privatePhrases[strings.ToLower(found)], found)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range documents(t) {
		if filepath.Base(path) == "CHANGELOG.md" {
			continue
		}
		for _, found := range phrase.FindAllString(readDocument(t, path), -1) {
			t.Errorf("%s: say %s instead of %s", path, privatePhrases[strings.ToLower(found)], found)
		}
	}
}

// nameWords splits a name of Go into its words, in lower case.
func nameWords(name string) []string {
	var words []string
	begin := 0
	runes := []rune(name)
	for i := 1; i <= len(runes); i++ {
		if i == len(runes) || runes[i] == '_' || unicode.IsUpper(runes[i]) && !unicode.IsUpper(runes[i-1]) ||
			unicode.IsUpper(runes[i]) && i+1 < len(runes) && unicode.IsLower(runes[i+1]) {
			words = append(words, strings.ToLower(strings.Trim(string(runes[begin:i]), "_")))
			begin = i
		}
	}
	return words
}
