// ReplicationCore
