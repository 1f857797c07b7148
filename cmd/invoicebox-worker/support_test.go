package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

// bundle makes a bundle beside a worker, and returns its members by name.
func (r *rig) bundle(name, listen string, flags ...string) map[string][]byte {
	r.t.Helper()
	r.must(append(append([]string{"support", "bundle", "--file", r.path(name)}, with(r.service(), "--listen", listen)...), flags...)...)
	return unpack(r.t, r.path(name))
}

func unpack(t *testing.T, path string) map[string][]byte {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	zip, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewReader(zip)
	members := map[string][]byte{}
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return members
		}
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(header.Name, "/")
		if members[name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSupportBundle(t *testing.T) {
	r := newRig(t, kafkatest.Embedded(t), calm())
	w := r.start("--pprof")
	r.entered("s1", "AAA-1")
	r.send(schemas.TypeCodeEntered, "d1", "d1", `{"shopId":"d1","activationCode":[]}`)
	r.results(schemas.TypeDeadLetter, 1)
	members := r.bundle("first.tar.gz", w.addr, "--concurrency", "9")
	for name, want := range map[string]string{
		"version.json": `"go": "go1`, "build.txt": "path", "settings.json": `"value": "9",`, "system.json": `"gomaxprocs": `, "check.json": `"check": "kafka"`,
		"readyz.txt": "ready: consumer", "metrics.txt": "invoicebox_worker_build_info", "goroutines.txt": "goroutine profile: total", "accounts.json": `"name": "default"`,
		"journal.json": `"positions": [`, "attention.json": "[", "dead-letters.json": `"reason": "`, "audit.json": "[", "members.json": `"name": "check.json"`,
	} {
		if !strings.Contains(string(members[name]), want) {
			t.Errorf("%s has no %q:\n%s", name, want, members[name])
		}
	}
	if n := len(members); n != 14 {
		t.Errorf("%d members", n)
	}
	info, err := os.Stat(r.path("first.tar.gz"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	again := append([]string{"support", "bundle", "--file", r.path("first.tar.gz")}, r.service()...)
	if code, _, errs := r.command(again...); code != exitFailed || !strings.Contains(errs, "first.tar.gz cannot be created") {
		t.Errorf("over an existing file: %d %s", code, errs)
	}
	w.end()

	// Without a worker, without profiles, without a journal: what there is.
	closed := noListener
	members = r.bundle("second.tar.gz", closed, "--journal-url", "sqlite:"+r.path("none.db"))
	for _, name := range []string{"readyz.txt", "metrics.txt", "goroutines.txt", "accounts.json", "journal.json"} {
		if _, there := members[name]; there {
			t.Errorf("there is %s", name)
		}
	}
	if index := string(members["members.json"]); !strings.Contains(index, "no worker answers at --listen "+closed) || !strings.Contains(index, "there is no journal") || len(members["check.json"]) == 0 {
		t.Errorf("the index says\n%s", index)
	}
}

// Of an account all is shown: what is left out would look like the setting of all.
func TestAccountSettings(t *testing.T) {
	a := config.Account{
		Name: "a", PartnerID: "p", TokenFile: "t", SigningKeyFile: "k", SigningAlgorithm: "hmac-sha256", SigningEncoding: "hex", RequestsPerWindow: 1, Window: time.Second,
		CredentialsStore: "vault",
	}
	doc, err := json.Marshal(accountSettingOf(a))
	var shown map[string]any
	if err := errors.Join(err, json.Unmarshal(doc, &shown)); err != nil || len(shown) != reflect.TypeFor[config.Account]().NumField() || shown["credentialsStore"] != "vault" {
		t.Errorf("%v: %s", err, doc)
	}
}

// The environment can hold passwords: only names are shown.
func TestSystemNow(t *testing.T) {
	doc, err := marshal(systemNow([]string{"HTTPS_PROXY=http://user:mArk@proxy", "PGPASSWORD=mArk", "HOME=/mArk", "INVOICEBOX_WORKER_TOKEN_FILE=/mArk", "MARK=mArk"}))
	if err != nil || strings.Contains(string(doc), "mArk") || strings.Contains(string(doc), "MARK") {
		t.Errorf("%v: %s", err, doc)
	}
	v := systemNow([]string{"HTTPS_PROXY=x", "PGPASSWORD=y", "HOME=z"})
	if !slices.Equal(v.Variables, []string{"HTTPS_PROXY", "PGPASSWORD"}) || v.CPUs < 1 {
		t.Errorf("%+v", v)
	}
}
