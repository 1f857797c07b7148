package main

import (
	"os/exec"
	"strings"
	"testing"
)

func TestCompletion(t *testing.T) {
	scripts := map[string]string{}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		code, out, errs := execute(t.Context(), "completion", shell)
		if code != exitDone || errs != "" {
			t.Fatalf("%s: exit status %d, %s", shell, code, errs)
		}
		for _, want := range []string{"operations list", "attention", "journal-url", "completion", "kafka-brokers"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %s", shell, want)
			}
		}
		scripts[shell] = out
	}
	if code, _, _ := execute(t.Context(), "completion", "tcsh"); code == exitDone {
		t.Error("an unknown shell is taken")
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not there to try its script: ", err)
	}
	for typed, want := range map[string]string{
		"op": "operations", "operations li": "list", "operations list --att": "--attention", "--config x operations list --jour": "--journal-url", "version --jour": "", "--vers": "--version",
	} {
		words := strings.Fields("invoicebox-worker " + typed)
		for i := range words {
			words[i] = "'" + words[i] + "'"
		}
		script := scripts["bash"] + "COMP_WORDS=(" + strings.Join(words, " ") + "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _invoicebox_worker; echo \"${COMPREPLY[*]}\"\n"
		out, err := exec.CommandContext(t.Context(), bash, "-c", script).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", typed, got, err, want)
		}
	}
}

func TestVersionFlag(t *testing.T) {
	_, want, _ := execute(t.Context(), "version")
	for _, args := range [][]string{{"--version"}, {"--version", "run"}} {
		if code, out, errs := execute(t.Context(), args...); code != exitDone || out != want || errs != "" {
			t.Errorf("%v: exit status %d, %q, %q", args, code, out, errs)
		}
	}
}
