package e2e

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// TestImage runs the image as Kubernetes does: any user, a root that cannot be written, no
// capability, a volume for the journal, and a Secret whose files are links to a folder that
// is replaced. Only the network is this machine's. INVOICEBOX_TEST_IMAGE names the root of
// the unpacked image, which .ci/build-image makes; it needs runc and root.
func TestImage(t *testing.T) {
	image := os.Getenv("INVOICEBOX_TEST_IMAGE")
	if image == "" {
		t.Skip("INVOICEBOX_TEST_IMAGE names no image")
	}
	r := newRig(t, kafkatest.Embedded(t), calm(0), lifted()...)
	box := &container{rig: r, image: image, uid: 20_000 + rand.IntN(10_000), gid: 40_000 + rand.IntN(10_000)}
	box.secret(sandbox.DefaultToken)
	box.volume()
	w := box.start()

	r.selected("first")
	r.entered("first")
	r.awaitResults(schemas.TypeActivated, 1, time.Minute)

	// A Secret with a token that is wrong, and the right one again: both are read while the
	// worker runs.
	box.secret("wrong-token")
	const again = `"a file has changed and was read again","setting":"token-file"`
	await(t, time.Minute, "the Secret is read again", func() bool { return bytes.Contains(w.log.bytes(), []byte(again)) })
	r.entered("second")
	await(t, time.Minute, "the wrong token pauses the account", func() bool {
		_, text := w.get("/readyz")
		return strings.Contains(text, "account default: paused")
	}, func() string { _, text := w.get("/readyz"); return text })
	box.secret(sandbox.DefaultToken)
	r.awaitResults(schemas.TypeActivated, 2, time.Minute)

	if code, took := w.terminate(40 * time.Second); code != 0 {
		t.Errorf("exit status %d, %v after SIGTERM", code, took)
	}
	if list := r.operations("--attention"); len(list) != 0 || distinct(r.results(schemas.TypeActivated)) != 2 || r.count(schemas.TypeActivated) != 2 {
		t.Errorf("%d results of two shops; %d operations are in attention", r.count(schemas.TypeActivated), len(list))
	}
}

// A container is a worker in the image.
type container struct {
	*rig
	image    string
	uid, gid int
	swaps    int
}

// secret puts the token and the keyset where Kubernetes would: with fsGroup the files are
// root's, and a group of the worker can read them.
func (c *container) secret(token string) {
	c.t.Helper()
	folder := c.path("secrets")
	c.swaps++
	version := "..2026_" + strings.Repeat("x", c.swaps)
	data := filepath.Join(folder, version)
	c.ok(os.MkdirAll(data, 0o750))
	keys, err := os.ReadFile(c.path("keyset.json"))
	c.ok(err)
	for name, doc := range map[string][]byte{"token": []byte(token), "keyset.json": keys} {
		path := filepath.Join(data, name)
		c.ok(os.WriteFile(path, doc, 0o600))
		c.ok(os.Chown(path, 0, c.gid))
		c.ok(os.Chmod(path, 0o440)) // #nosec G302 -- as Kubernetes does
		if c.swaps == 1 {
			c.ok(os.Symlink("..data/"+name, filepath.Join(folder, name)))
		}
	}
	for _, dir := range []string{folder, data} {
		c.ok(os.Chown(dir, 0, c.gid))
		c.ok(os.Chmod(dir, 0o750)) // #nosec G302 -- as Kubernetes does
	}
	c.ok(os.Symlink(version, filepath.Join(folder, "..data_tmp")))
	c.ok(os.Rename(filepath.Join(folder, "..data_tmp"), filepath.Join(folder, "..data")))
}

// volume is the folder of the journal, which belongs to the worker's user.
func (c *container) volume() {
	c.t.Helper()
	c.ok(os.Mkdir(c.path("state"), 0o700))
	c.ok(os.Chown(c.path("state"), c.uid, c.gid))
	c.journal = "sqlite:" + c.path("state/journal.db")
}

func (c *container) ok(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// start runs the image's own entry point in a container.
func (c *container) start() *worker {
	c.t.Helper()
	bundle, id := c.t.TempDir(), "invoicebox-worker-"+filepath.Base(c.dir)+"-"+c.group[len(c.group)-8:]
	runc := func(args ...string) *exec.Cmd {
		return exec.Command("runc", append([]string{"--root", filepath.Join(bundle, "state")}, args...)...) // #nosec G204 -- a program of this machine
	}
	c.t.Cleanup(func() { _ = runc("delete", "--force", id).Run() }) // it has ended, or is killed
	return c.rig.runAs(append([]string{"run", "--keyset-file", "/secrets/keyset.json", "--token-file", "/secrets/token", "--partner-id", sandbox.DefaultPartnerID, "--journal-url", "sqlite:/var/lib/invoicebox-worker/journal.db"}, c.extra...),
		func(args []string) *exec.Cmd {
			doc, err := json.Marshal(c.spec(args))
			c.ok(err)
			c.ok(os.WriteFile(filepath.Join(bundle, "config.json"), doc, 0o600))
			return runc("run", "--bundle", bundle, id)
		})
}

// spec is the container: everything that a cluster's restricted profile asks for.
func (c *container) spec(args []string) map[string]any {
	bind := func(from, to, mode string) map[string]any {
		return map[string]any{"destination": to, "type": "bind", "source": from, "options": []string{"bind", "nosuid", "nodev", "noexec", mode}}
	}
	return map[string]any{
		"ociVersion": "1.0.2",
		"root":       map[string]any{"path": c.image, "readonly": true},
		"process": map[string]any{
			"user": map[string]any{"uid": c.uid, "gid": c.gid}, "args": append([]string{"/usr/local/bin/invoicebox-worker"}, args...), "cwd": "/",
			"env": []string{"GOMEMLIMIT=200MiB"}, "noNewPrivileges": true, "capabilities": map[string]any{},
		},
		"mounts": []any{
			map[string]any{"destination": "/proc", "type": "proc", "source": "proc"},
			bind(c.path("state"), "/var/lib/invoicebox-worker", "rw"),
			bind(c.path("secrets"), "/secrets", "ro"),
		},
		"linux": map[string]any{"namespaces": []any{
			map[string]any{"type": "pid"}, map[string]any{"type": "ipc"}, map[string]any{"type": "uts"}, map[string]any{"type": "mount"},
		}},
	}
}
