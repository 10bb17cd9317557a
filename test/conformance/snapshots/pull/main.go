// Pulls an image as Docker, Kubernetes and nerdctl do, but ctr up to 1.7 does not: layers are unpacked as they arrive, and
// the snapshotter is told which layer it is asked for, so that it can say that it has it already. Such a layer is not
// downloaded.
//
//	pull -address SOCKET -namespace NAMESPACE -snapshotter NAME REFERENCE
package main

import (
	"context"
	"flag"
	"log"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/containerd/remotes/docker"
	"github.com/containerd/containerd/snapshots"
)

func main() {
	address := flag.String("address", "", "socket of containerd")
	namespace := flag.String("namespace", "default", "namespace of containerd")
	snapshotter := flag.String("snapshotter", "lcfs", "snapshotter to unpack with")
	flag.Parse()
	client, err := containerd.New(*address)
	if err != nil {
		log.Fatal(err)
	}
	ctx := namespaces.WithNamespace(context.Background(), *namespace)
	hosts := docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(docker.MatchAllHosts))
	image, err := client.Pull(ctx, flag.Arg(0),
		containerd.WithPullUnpack,
		containerd.WithPullSnapshotter(*snapshotter, snapshots.WithLabels(map[string]string{})),
		containerd.WithResolver(docker.NewResolver(docker.ResolverOptions{Hosts: hosts})))
	if err != nil {
		log.Fatal(err)
	}
	log.Print("pulled ", image.Name())
}
