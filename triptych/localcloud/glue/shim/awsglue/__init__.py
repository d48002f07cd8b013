"""What Glue's own ``awsglue`` package offers to a script that works with Spark data frames.

AWS's package needs Glue's JVM classes. Dynamic frames and the job bookmark are not here.
"""
