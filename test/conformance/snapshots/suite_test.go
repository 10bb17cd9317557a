// Runs containerd's own conformance suite for snapshotters against a gRPC socket that answers
// containerd.services.snapshots.v1: that of LCFS, or of a containerd.
//
//	suite -address SOCKET -snapshotter NAME [-test.v] [-test.run REGEXP]
//
// The suite uses some fixed keys and leaves snapshots behind, so the volume behind the socket has to be a fresh one.
// When it is through, everything that it left is removed, children first, and nothing may be left after that.
package snapshots

import (
	"context"
	"flag"
	"os"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/proxy"
	"github.com/containerd/containerd/snapshots/testsuite"
	"google.golang.org/grpc"
)

var (
	address = flag.String("address", "", "socket of the snapshotter")
	name    = flag.String("snapshotter", "lcfs", "name of the snapshotter")
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(m.Run())
}

func connect(t *testing.T) (snapshots.Snapshotter, func() error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	options := []grpc.DialOption{grpc.WithInsecure(), grpc.WithBlock()}
	connection, err := grpc.DialContext(ctx, "unix://"+*address, options...)
	if err != nil {
		t.Fatalf("no connection to %s: %v", *address, err)
	}
	return proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(connection), *name), connection.Close
}

func TestSnapshots(t *testing.T) {
	t.Run("Suite", func(t *testing.T) {
		// The suite runs its cases side by side; each has a connection of its own.
		testsuite.SnapshotterSuite(t, *name, func(context.Context, string) (snapshots.Snapshotter, func() error, error) {
			snapshotter, closeConnection := connect(t)
			return snapshotter, closeConnection, nil
		})
	})
	t.Run("RemoveAll", removeAll)
}

// removeAll removes all snapshots as containerd's garbage collector does, children before their parents.
func removeAll(t *testing.T) {
	ctx := namespaces.WithNamespace(context.Background(), "testsuite")
	snapshotter, closeConnection := connect(t)
	defer closeConnection()
	for left := list(ctx, t, snapshotter); len(left) > 0; {
		for _, key := range left {
			if err := snapshotter.Remove(ctx, key); err != nil && !errdefs.IsFailedPrecondition(err) {
				t.Fatalf("remove %s: %v", key, err)
			}
		}
		after := list(ctx, t, snapshotter)
		if len(after) >= len(left) {
			t.Fatalf("%d snapshots cannot be removed, among them %s", len(after), after[0])
		}
		left = after
	}
}

func list(ctx context.Context, t *testing.T, snapshotter snapshots.Snapshotter) []string {
	var keys []string
	err := snapshotter.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		keys = append(keys, info.Name)
		return nil
	})
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	return keys
}
