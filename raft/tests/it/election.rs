use quorate_raft::testing::Cluster;

#[test]
fn a_cluster_elects_and_replicates() {
    for seed in 0..50 {
        let mut cluster = Cluster::of_three(seed);
        let leader = cluster.elect();
        cluster.propose(leader, b"x");
        cluster.settle();
        cluster.run(std::time::Duration::from_millis(10));
        for node in 1..=3 {
            assert_eq!(cluster.node(node).commands(), [b"x"], "node {node}");
        }
        let read = cluster.read(leader % 3 + 1);
        cluster.settle();
        assert!(cluster.read_index(leader % 3 + 1, read).is_some());
    }
}
