package snapshots

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/mount"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/containerd/snapshots"
)

// TestRefusals asks for what makes no sense and looks at the errors as containerd sees them.
func TestRefusals(t *testing.T) {
	ctx := namespaces.WithNamespace(context.Background(), "testsuite")
	s, closeConnection := connect(t)
	defer closeConnection()
	keep := snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "refusals"})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	prepare := func(key, parent string) error {
		_, err := s.Prepare(ctx, key, parent, keep)
		return err
	}
	must(prepare("refusals-active", ""))
	must(prepare("refusals-tmp", ""))
	must(s.Commit(ctx, "refusals-committed", "refusals-tmp", keep))
	_, err := s.View(ctx, "refusals-view", "refusals-committed", keep)
	must(err)
	list := func(filter string) error {
		return s.Walk(ctx, func(context.Context, snapshots.Info) error { return nil }, filter)
	}
	mounts := func(key string) error {
		_, err := s.Mounts(ctx, key)
		return err
	}
	usage := func(key string) error {
		_, err := s.Usage(ctx, key)
		return err
	}
	stat := func(key string) error {
		_, err := s.Stat(ctx, key)
		return err
	}
	update := func(key string, fields ...string) error {
		_, err := s.Update(ctx, snapshots.Info{Name: key, Labels: map[string]string{"l": "1"}}, fields...)
		return err
	}
	cases := []struct {
		name string
		err  error
		is   func(error) bool
	}{
		{"unknown parent", prepare("refusals-1", "refusals-nothing"), errdefs.IsNotFound},
		{"parent that is active", prepare("refusals-1", "refusals-active"), errdefs.IsInvalidArgument},
		{"parent that is a view", prepare("refusals-1", "refusals-view"), errdefs.IsInvalidArgument},
		{"key in use", prepare("refusals-active", ""), errdefs.IsAlreadyExists},
		{"key that is committed", prepare("refusals-committed", ""), errdefs.IsAlreadyExists},
		{"no key", prepare("", ""), errdefs.IsInvalidArgument},
		{"mounts of nothing", mounts("refusals-nothing"), errdefs.IsNotFound},
		{"usage of nothing", usage("refusals-nothing"), errdefs.IsNotFound},
		{"stat of nothing", stat("refusals-nothing"), errdefs.IsNotFound},
		{"remove of nothing", s.Remove(ctx, "refusals-nothing"), errdefs.IsNotFound},
		{"update of nothing", update("refusals-nothing"), errdefs.IsNotFound},
		{"update of what cannot be changed", update("refusals-active", "kind"), errdefs.IsInvalidArgument},
		{"remove of a parent", s.Remove(ctx, "refusals-committed"), errdefs.IsFailedPrecondition},
		{"commit of nothing", s.Commit(ctx, "refusals-2", "refusals-nothing"), errdefs.IsNotFound},
		{"commit of what is committed", s.Commit(ctx, "refusals-2", "refusals-committed"), isRefused},
		{"commit of a view", s.Commit(ctx, "refusals-2", "refusals-view"), isRefused},
		{"commit under a name in use", s.Commit(ctx, "refusals-committed", "refusals-active"), errdefs.IsAlreadyExists},
		{"label that is too long", func() error {
			_, err := s.Prepare(ctx, "refusals-1", "", snapshots.WithLabels(map[string]string{"l": strings.Repeat("x", 5000)}))
			return err
		}(), errdefs.IsInvalidArgument},
		{"filter without an end", list(`labels."x`), errdefs.IsInvalidArgument},
		{"filter without an operator", list(`name foo`), errdefs.IsInvalidArgument},
		{"filter with a broken expression", list(`name~=(`), errdefs.IsInvalidArgument},
		{"filter that is no text", list("\x00=="), errdefs.IsInvalidArgument},
	}
	for _, c := range cases {
		if c.err == nil || !c.is(c.err) {
			t.Errorf("%s: %v", c.name, c.err)
		}
	}
	for _, key := range []string{"refusals-view", "refusals-committed", "refusals-active"} {
		must(s.Remove(ctx, key))
	}
	if left := list(`name==refusals-1`); left != nil {
		t.Error(left)
	}
}

// A commit of what is not active fails; which of the two errors it is, snapshotters of containerd do not agree on.
func isRefused(err error) bool {
	return errdefs.IsFailedPrecondition(err) || errdefs.IsNotFound(err)
}

// TestNames uses keys that would mean something as paths, and some that are merely unusual.
func TestNames(t *testing.T) {
	ctx := namespaces.WithNamespace(context.Background(), "testsuite")
	s, closeConnection := connect(t)
	defer closeConnection()
	keys := []string{
		"../../escape", "/", ".", "..", "a/../../b", "a//b", "with space", "colon:comma,equals=", "new\nline", "größe – 漢字", "~", "%2F", "-o",
		strings.Repeat("long/", 200),
	}
	for _, key := range keys {
		mounts, err := s.Prepare(ctx, key, "", snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "names"}))
		if err != nil {
			t.Errorf("%q: %v", key, err)
			continue
		}
		if err := writeTo(mounts, key); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
	for _, key := range keys {
		mounts, err := s.Mounts(ctx, key)
		if err != nil {
			t.Errorf("%q: %v", key, err)
			continue
		}
		if content, err := readFrom(mounts); err != nil || content != key {
			t.Errorf("%q holds %q, %v", key, content, err)
		}
		if err := s.Remove(ctx, key); err != nil {
			t.Errorf("remove %q: %v", key, err)
		}
	}
}

func writeTo(mounts []mount.Mount, content string) error {
	return mount.WithTempMount(context.Background(), mounts, func(root string) error {
		return os.WriteFile(filepath.Join(root, "key"), []byte(content), 0o600)
	})
}

func readFrom(mounts []mount.Mount) (content string, err error) {
	err = mount.WithTempMount(context.Background(), mounts, func(root string) error {
		bytes, err := os.ReadFile(filepath.Join(root, "key"))
		content = string(bytes)
		return err
	})
	return content, err
}
