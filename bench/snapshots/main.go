// Measures a snapshotter: LCFS over its socket, or containerd's own, which run within this process and have no socket
// between them and the caller.
//
//	bench -snapshotter lcfs -address SOCKET
//	bench -snapshotter overlayfs|native -root FOLDER
//
// With 10, 100 and 1,000 snapshots of a layer with 100 files there already, one more is prepared, committed and removed, in
// turn. Prints JSON: milliseconds of each call.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/mount"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/native"
	"github.com/containerd/containerd/snapshots/overlay"
	"github.com/containerd/containerd/snapshots/proxy"
	"google.golang.org/grpc"
)

var (
	name    = flag.String("snapshotter", "lcfs", "lcfs, overlayfs or native")
	address = flag.String("address", "", "socket of LCFS")
	root    = flag.String("root", "", "folder for the others")
	rounds  = flag.Int("rounds", 100, "calls of each kind")
)

type result struct {
	Snapshots               int
	Prepare, Commit, Remove []float64
}

func main() {
	flag.Parse()
	ctx := namespaces.WithNamespace(context.Background(), "bench")
	s := open()
	base(ctx, s)
	var results []result
	made := 1
	for _, count := range []int{10, 100, 1000} {
		for ; made < count; made++ {
			_, err := s.Prepare(ctx, fmt.Sprintf("bench/%d/there", made), "bench/0/base")
			check(err)
		}
		results = append(results, measure(ctx, s, count))
	}
	check(json.NewEncoder(os.Stdout).Encode(results))
}

func open() snapshots.Snapshotter {
	switch *name {
	case "overlayfs":
		s, err := overlay.NewSnapshotter(*root)
		check(err)
		return s
	case "native":
		s, err := native.NewSnapshotter(*root)
		check(err)
		return s
	default:
		connection, err := grpc.Dial("unix://"+*address, grpc.WithInsecure(), grpc.WithBlock())
		check(err)
		return proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(connection), *name)
	}
}

// base makes the layer that all others are made of: 2 MB in 100 files in ten folders.
func base(ctx context.Context, s snapshots.Snapshotter) {
	mounts, err := s.Prepare(ctx, "bench/0/filling", "")
	check(err)
	check(mount.WithTempMount(ctx, mounts, func(root string) error {
		for i := 0; i < 100; i++ {
			folder := filepath.Join(root, fmt.Sprint(i%10))
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(folder, fmt.Sprint(i)), make20k(i), 0o644); err != nil {
				return err
			}
		}
		return nil
	}))
	check(s.Commit(ctx, "bench/0/base", "bench/0/filling"))
}

func make20k(seed int) []byte {
	data := make([]byte, 20000)
	for i := range data {
		data[i] = byte(i*seed + i>>8)
	}
	return data
}

func measure(ctx context.Context, s snapshots.Snapshotter, count int) result {
	r := result{Snapshots: count}
	for i := 0; i < *rounds; i++ {
		key := fmt.Sprintf("bench/%d/key-%d", 1_000_000+count, i)
		committed := fmt.Sprintf("bench/%d/name-%d", 2_000_000+count, i)
		r.Prepare = append(r.Prepare, timed(func() error {
			_, err := s.Prepare(ctx, key, "bench/0/base")
			return err
		}))
		r.Commit = append(r.Commit, timed(func() error { return s.Commit(ctx, committed, key) }))
		r.Remove = append(r.Remove, timed(func() error { return s.Remove(ctx, committed) }))
	}
	return r
}

// timed returns milliseconds.
func timed(work func() error) float64 {
	started := time.Now()
	check(work())
	return float64(time.Since(started).Microseconds()) / 1000
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
