package main

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const repository = "../.."

// documents are the Markdown files that users read.
func documents(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(repository + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"docs", "deploy", "invoicebox"} {
		err := filepath.WalkDir(filepath.Join(repository, dir), func(path string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".md") {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func readDocument(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path) // #nosec G304 -- a document of the repository
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	fence   = regexp.MustCompile("(?ms)^ *```(\\w*)\n(.*?)\n *```$")
	inCode  = regexp.MustCompile("`[^`\n]*`")
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.+)$`)
	metric  = regexp.MustCompile(`invoicebox_worker_[a-z_]+`)
)

// anchors are those that GitHub gives the headings of a document.
func anchors(text string) []string {
	var all []string
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ' || r == '-':
				return '-'
			case r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r > 127 && r != '…' && r != '–' && r != '—':
				return r
			}
			return -1
		}, strings.ToLower(m[1]))
		all = append(all, anchor)
	}
	return all
}

// Every relative link of a document leads to a file, and every fragment to a heading.
func TestLinks(t *testing.T) {
	checked := 0
	for _, path := range documents(t) {
		text := fence.ReplaceAllString(readDocument(t, path), "")
		for _, m := range link.FindAllStringSubmatch(inCode.ReplaceAllString(text, ""), -1) {
			target, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s: %s: %v", path, m[1], err)
				continue
			}
			if target.Scheme != "" {
				continue
			}
			checked++
			file := path
			if target.Path != "" {
				file = filepath.Join(filepath.Dir(path), target.Path)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: %s leads nowhere", path, m[1])
				continue
			}
			if target.Fragment != "" && !slices.Contains(anchors(readDocument(t, file)), target.Fragment) {
				t.Errorf("%s: %s: there is no such heading", path, m[1])
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d links were found", checked)
	}
}

// The map of the folders in docs/architecture.md names every folder with Go files, and
// no other.
func TestFolders(t *testing.T) {
	_, section, found := strings.Cut(readDocument(t, repository+"/docs/architecture.md"), "\n## Folders\n")
	if !found {
		t.Fatal("there is no map of the folders")
	}
	var drawn []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`.+`) \\| ").FindAllStringSubmatch(section, -1) {
		for _, folder := range inCode.FindAllString(row[1], -1) {
			folder = strings.Trim(folder, "`")
			drawn = append(drawn, folder)
			if info, err := os.Stat(filepath.Join(repository, folder)); err != nil || !info.IsDir() {
				t.Errorf("%s is no folder", folder)
			}
		}
	}
	err := filepath.WalkDir(repository, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "testdata" || strings.HasPrefix(entry.Name(), ".") && path != repository) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		folder, err := filepath.Rel(repository, filepath.Dir(path))
		if err == nil && !slices.Contains(drawn, folder) {
			drawn = append(drawn, folder)
			t.Errorf("%s is not on the map", folder)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A package comment says what the package is, what it guarantees and how it fails. More
// belongs in docs.
func TestPackageComments(t *testing.T) {
	const most = 80
	err := filepath.WalkDir(repository, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "doc.go" {
			if lines := strings.Count(readDocument(t, path), "\n"); lines > most {
				t.Errorf("%s has %d lines, %d are allowed", path, lines, most)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Every go test command of a document names tests that exist.
func TestTestCommands(t *testing.T) {
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w*)\(`)
	checked := 0
	for _, path := range documents(t) {
		text := readDocument(t, path)
		lines := strings.Split(text, "\n")
		for _, code := range inCode.FindAllString(text, -1) {
			lines = append(lines, strings.Trim(code, "`"))
		}
		for _, line := range lines {
			words := shellWords(line)
			for len(words) > 0 && strings.Contains(words[0], "=") {
				words = words[1:]
			}
			if len(words) < 3 || words[0] != "go" || words[1] != "test" {
				continue
			}
			pattern := regexp.MustCompile("")
			var folders []string
			for i, word := range words {
				switch {
				case word == "-run" && i+1 < len(words):
					test, _, _ := strings.Cut(words[i+1], "/") // without its cases
					pattern = regexp.MustCompile(test)
				case strings.HasPrefix(word, "./") && !strings.HasSuffix(word, "..."):
					folders = append(folders, word)
				}
			}
			for _, folder := range folders {
				checked++
				files, err := filepath.Glob(filepath.Join(repository, folder, "*_test.go"))
				if err != nil {
					t.Fatal(err)
				}
				found := slices.ContainsFunc(files, func(file string) bool {
					return slices.ContainsFunc(function.FindAllStringSubmatch(readDocument(t, file), -1), func(m []string) bool { return pattern.MatchString(m[1]) })
				})
				if !found && pattern.String() != "^$" {
					t.Errorf("%s: %s: %s has no such test", path, line, folder)
				}
			}
		}
	}
	if checked < 10 {
		t.Errorf("only %d commands were found", checked)
	}
}

// Every metric that a document names is in docs/metrics.md.
func TestMetricNames(t *testing.T) {
	known := readDocument(t, repository+"/docs/metrics.md")
	for _, path := range documents(t) {
		for _, name := range metric.FindAllString(readDocument(t, path), -1) {
			if filepath.Base(path) != "CHANGELOG.md" && !strings.Contains(known, "| `"+name+"` |") {
				t.Errorf("%s: there is no metric %s", path, name)
			}
		}
	}
}

// Every command line of a document's sh blocks that starts a program of this repository
// has a command and flags that the program knows.
func TestCommandLines(t *testing.T) {
	checked := 0
	for _, path := range documents(t) {
		for _, block := range fence.FindAllStringSubmatch(readDocument(t, path), -1) {
			if block[1] != "sh" {
				continue
			}
			for line := range strings.SplitSeq(strings.ReplaceAll(block[2], "\\\n", " "), "\n") {
				words := shellWords(line)
				program, args := programOf(words)
				if program == "" {
					continue
				}
				checked++
				var err error
				if program == "invoicebox-worker" {
					_, err = grammar(t).Parse(args)
				} else {
					err = listed(t, program, args)
				}
				if err != nil {
					t.Errorf("%s: %s: %v", path, line, err)
				}
			}
		}
	}
	if checked < 10 {
		t.Errorf("only %d command lines were found", checked)
	}
}

// listed checks that docs/configuration.md, which is compared with the programs, lists
// the flags of another program.
func listed(t *testing.T, program string, args []string) error {
	t.Helper()
	_, section, found := strings.Cut(readDocument(t, repository+"/docs/configuration.md"), "\n## `"+program+"`\n")
	if !found {
		return fmt.Errorf("there is no program %s", program)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for _, arg := range args {
		flag, _, _ := strings.Cut(arg, "=")
		if strings.HasPrefix(flag, "-") && !strings.Contains(section, "| `"+flag+"`") && !strings.Contains(section, "| `"+flag+" ") {
			return fmt.Errorf("there is no flag %s", flag)
		}
	}
	return nil
}

// shellWords splits a line as a shell does, as far as documents need it: quotes and
// comments are known, variables are not replaced. An ellipsis, which stands for further
// flags, is left out.
func shellWords(line string) (words []string) {
	var word strings.Builder
	quote, in := rune(0), false
	end := func() {
		if in && word.String() != "…" {
			words = append(words, word.String())
		}
		word.Reset()
		in = false
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, in = r, true
		case quote == 0 && (r == ' ' || r == '\t'):
			end()
		case quote == 0 && !in && strings.ContainsRune("#|>;&", r):
			return words
		default:
			word.WriteRune(r)
			in = true
		}
	}
	end()
	return words
}

// programOf finds the program of this repository that a command line starts, "" for
// none, and its arguments.
func programOf(words []string) (program string, args []string) {
	for len(words) > 0 && strings.Contains(words[0], "=") {
		words = words[1:]
	}
	switch {
	case len(words) > 0 && strings.HasPrefix(words[0], "bin/"):
		return strings.TrimPrefix(words[0], "bin/"), words[1:]
	case len(words) > 2 && words[0] == "go" && words[1] == "run" && strings.HasPrefix(words[2], "./cmd/"):
		return strings.TrimPrefix(words[2], "./cmd/"), words[3:]
	}
	return "", nil
}
